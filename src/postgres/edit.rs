//! A client's text with other words in it: see [`crate::engine::edit`].

use super::names::{Name, UNKNOWN};
use super::state;
use crate::engine::seam::{By, Edited, Replaced, ReturnForm};

/// `text` with what is `replaced`, in its order; `alone`: it must stay one statement.
pub(super) fn edit(text: &[u8], replaced: &[Replaced<'_>], alone: bool) -> Edited {
    let mut edited = Edited::default();
    let characters = |bytes: &[u8]| bytes.iter().filter(|byte| !matches!(byte, 0x80..=0xbf)).count();
    let (mut from, mut at, mut more) = (0, 1, 0);
    for Replaced { at: range, statement, by } in replaced {
        let before = text.get(from..range.start).unwrap_or_default();
        let own = text.get(range.clone()).unwrap_or_default();
        let first = edited.text.len() + before.len();
        edited.text.extend_from_slice(before);
        match by {
            By::Name { id, name } => {
                match id {
                    Some(id) => edited.text.extend_from_slice(Name::of(*id).as_bytes()),
                    None => edited.text.extend_from_slice(UNKNOWN.as_bytes()),
                }
                edited.names.extend(id.map(|id| (id, name.as_bytes().into())));
            }
            By::Values { values, all, form } => {
                let number = u32::from(*statement) + more;
                more += give(&mut edited, (values, *all), *form, alone, number);
            }
        }
        let new = characters(edited.text.get(first..).unwrap_or_default());
        at += characters(before) + new;
        edited.shifts.push((at, new.cast_signed() - characters(own).cast_signed()));
        from = range.end;
    }
    edited.text.extend_from_slice(text.get(from..).unwrap_or_default());
    edited
}

// Writes what gives these settings their values, as the statement of that number; returns how many more statements it became.
fn give(
    edited: &mut Edited,
    (values, all): (&[(&str, &str)], bool),
    form: ReturnForm,
    alone: bool,
    number: u32,
) -> u32 {
    if form == ReturnForm::Null {
        let value = values.first().map_or_else(|| "NULL".to_owned(), |(_, value)| state::literal(value));
        edited.text.extend_from_slice(value.as_bytes());
        return 0;
    }
    let local = form == ReturnForm::LocalDefault;
    let mut statements: Vec<String> =
        values.iter().map(|(name, value)| state::set_silently(name, value, local)).collect();
    if all {
        statements.insert(0, "RESET ALL".to_owned());
    }
    let own = if form == ReturnForm::Reset { "RESET" } else { "SET" };
    if statements.len() > 1 && alone {
        let inner: String = statements.iter().map(|statement| format!("{statement};")).collect();
        edited.text.extend_from_slice(state::block(&inner).as_bytes());
        edited.tags.push((number, Some(own)));
        return 0;
    }
    edited.text.extend_from_slice(statements.join(";").as_bytes());
    edited.tags.push((number, Some(own)));
    let more = u32::try_from(statements.len().saturating_sub(1)).unwrap_or(0);
    edited.tags.extend((1..=more).map(|further| (number + further, None)));
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returned<'a>(
        statement: u16,
        at: std::ops::Range<usize>,
        values: &[(&'a str, &'a str)],
        all: bool,
    ) -> Replaced<'a> {
        let by = By::Values { values: values.to_vec(), all, form: ReturnForm::Reset };
        Replaced { at, statement, by }
    }

    #[test]
    fn what_returns_is_set_and_told_as_it_was_said() {
        let text = b"RESET work_mem; SELECT 1";
        let edited = edit(text, &[returned(0, 0..14, &[("work_mem", "1'MB")], false)], false);
        assert_eq!(edited.text, b"SET \"work_mem\" TO E'1''MB'; SELECT 1");
        assert_eq!(edited.tags, [(0, Some("RESET"))]);
        // A position behind it is as far from the end as before.
        assert_eq!(edited.shifts, [(27, 12)]);
    }

    #[test]
    fn what_returns_all_is_one_statement_where_it_must_be() {
        let values = [("a.b", "1"), ("work_mem", "2MB")];
        let text = b"SELECT 1; RESET ALL; RESET a.b";
        let replaced = [returned(1, 10..19, &values, true), returned(2, 21..30, &values[..1], false)];
        let edited = edit(text, &replaced, false);
        let said = b"SELECT 1; RESET ALL;SET \"a\".\"b\" TO E'1';SET \"work_mem\" TO E'2MB'; SET \"a\".\"b\" TO E'1'";
        assert_eq!(edited.text, said);
        assert_eq!(edited.tags, [(1, Some("RESET")), (2, None), (3, None), (4, Some("RESET"))]);
        let edited = edit(b"RESET ALL", &[returned(0, 0..9, &values[..1], true)], true);
        assert_eq!(edited.text, b"DO LANGUAGE plpgsql E'BEGIN RESET ALL;SET \"a\".\"b\" TO E''1''; END'");
        assert_eq!(edited.tags, [(0, Some("RESET"))]);
    }
}
