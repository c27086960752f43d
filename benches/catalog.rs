//! What a large catalog costs once it has come: reading the bodies of 10,000 functions, and finding out what each reaches.
//! Run with `cargo bench --bench catalog`; what the server needs to tell it is in docs/performance.md.

use divan::Bencher;
use primacy::catalog::source::{Function, Hangs, Language, Source};
use primacy::sql::closure::Code;

fn main() {
    divan::main();
}

const FUNCTIONS: u32 = 10_000;

/// Each reads a table of its own and calls the next.
fn source() -> Source {
    let function = |number: u32| Function {
        oid: 20_000 + number,
        schema: "public".into(),
        name: format!("f{number}").into(),
        arguments: (1, 2),
        volatile: true,
        attribute: false,
        language: Language::Plpgsql,
        body: Some(
            format!(
                "declare n int; v t{number}.a%type;\nbegin -- of the usual length\n\
                 select count(*) into n from t{number} where b = a and at < now();\n\
                 if n > 10 then insert into notebook values (b); end if;\n\
                 for v in select x.a from t{number} x join u y on x.id = y.id where x.b between 1 and 10\n\
                 loop perform f{}(n, v); end loop;\nreturn n + coalesce(length(v), 0); end",
                (number + 1) % FUNCTIONS
            )
            .into(),
        ),
        defaults: None,
        settings: Box::default(),
        uses: Box::default(),
        types: Box::default(),
        listed: None,
    };
    Source { functions: (0..FUNCTIONS).map(function).collect(), ..Source::default() }
}

#[divan::bench(sample_count = 10)]
fn ten_thousand_functions(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(source).bench_local_values(|source| {
        let code = Code::read(source);
        let hangs = vec![Hangs::default(); code.mentions().len()];
        let names = code.judge(&hangs, &[]);
        assert!(names.weight() < 8 << 20, "{}", names.weight());
        names
    });
}
