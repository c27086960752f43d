use super::super::fake::Fake;
use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// Reads the text as a scraper does, and fails on what a scraper would refuse. Samples by name and labels.
fn scrape(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("the text ends with # EOF");
    let (mut types, mut helps, mut samples) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    let mut current = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(helps.insert(name.to_owned()), "HELP of {name} twice");
            assert!(!help.is_empty());
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE follows its HELP");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "TYPE of {name} twice");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffix =
                name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{name} after {current}"));
            match types[&current].as_str() {
                "gauge" => assert_eq!(suffix, ""),
                "counter" => assert_eq!(suffix, "_total"),
                "histogram" => assert!(["_sum", "_count", "_bucket"].contains(&suffix), "{name}"),
                kind => panic!("{name} is a {kind}"),
            }
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} twice");
        }
    }
    samples
}

#[test]
fn a_scraper_accepts_every_line() {
    let samples = scrape(&text(&Fake::new()).unwrap());
    for (series, value) in [
        ("primacy_ready", 1.0),
        ("primacy_cl_active{cluster=\"shop\",database=\"orders\",user=\"ann\",node=\"pg1\"}", 3.0),
        ("primacy_maxwait_seconds{cluster=\"shop\",database=\"orders\",user=\"ann\",node=\"pg1\"}", 1.5),
        ("primacy_node_role{cluster=\"shop\",node=\"pg1\",role=\"primary\"}", 1.0),
        ("primacy_node_role{cluster=\"shop\",node=\"pg1\",role=\"replica\"}", 0.0),
        ("primacy_node_lag_seconds{cluster=\"shop\",node=\"pg2\"}", 0.25),
        ("primacy_query_count_total{cluster=\"shop\",database=\"orders\",user=\"ann\"}", 2.0),
        ("primacy_query_time_seconds_total{cluster=\"shop\",database=\"orders\",user=\"ann\"}", 0.002),
        ("primacy_routed_total{cluster=\"shop\",class=\"read\",role=\"replica\",reason=\"fresh\"}", 1.0),
        ("primacy_events_total{cluster=\"shop\",event=\"reruns\"}", 1.0),
        ("primacy_pinned{cluster=\"shop\",reason=\"listen\"}", 1.0),
        ("primacy_pinned{cluster=\"shop\",reason=\"temp_object\"}", 0.0),
        ("primacy_pins_total{cluster=\"shop\",reason=\"listen\"}", 0.0),
        ("primacy_query_duration_seconds_count{cluster=\"shop\",role=\"replica\"}", 1.0),
        ("primacy_query_duration_seconds_bucket{le=\"0.000512\",cluster=\"shop\",role=\"replica\"}", 0.0),
        ("primacy_query_duration_seconds_bucket{le=\"0.001024\",cluster=\"shop\",role=\"replica\"}", 1.0),
        ("primacy_query_duration_seconds_bucket{le=\"+Inf\",cluster=\"shop\",role=\"replica\"}", 1.0),
    ] {
        let found = samples.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", samples.keys()));
        assert!((found - value).abs() < 1e-9, "{series}: {found}");
    }
    assert!(
        !samples.contains_key("primacy_node_lag_seconds{cluster=\"shop\",node=\"pg1\"}"),
        "an unknown lag is not 0"
    );
}

#[test]
fn a_label_cannot_break_out_of_its_quotes() {
    let fake = Fake::new();
    fake.status.lock().clusters[0].name = "a\"b\\c\nd".to_owned();
    let text = text(&fake).unwrap();
    scrape(&text);
    assert!(text.contains(r#"primacy_cluster_epoch{cluster="a\"b\\c\nd"} 3"#), "{text}");
}
