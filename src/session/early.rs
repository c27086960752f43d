//! Whether a text lets the server acknowledge writes before they are durable: freshness is then proved by a stricter position, from before the
//! text is sent on.

use crate::engine::tracked::Tracked;
use crate::sql::{Change, Effect, Value, Verdict};

const SETTING: &[u8] = b"synchronous_commit";

/// Whether `text` may switch early acknowledgement on, now or (a function's body) later. In doubt it does.
pub(super) fn may_be_switched_on(text: &[u8], verdict: &Verdict) -> bool {
    // What neither touches settings nor defines anything is not searched: nearly everything.
    (verdict.ddl || !matches!(verdict.effect, Effect::None))
        && mentions(text)
        && !is_harmless(&verdict.effect)
}

/// Whether a session's start-up settings switch it on.
pub(super) fn is_on_from_the_start(settings: &Tracked) -> bool {
    settings.iter().any(|(name, value)| name.as_bytes().eq_ignore_ascii_case(SETTING) && is_early(value))
}

fn mentions(text: &[u8]) -> bool {
    text.windows(SETTING.len()).any(|window| window.eq_ignore_ascii_case(SETTING))
}

fn is_harmless(effect: &Effect) -> bool {
    match effect {
        Effect::Changes(changes) => match &**changes {
            [Change::Set { name, value: Value::Constant(value) }] => {
                name.as_bytes() == SETTING && !is_early(value)
            }
            _ => false,
        },
        _ => false,
    }
}

/// `local` and stronger wait for the primary's own disk, and that is what counts here.
fn is_early(value: &str) -> bool {
    !["on", "true", "yes", "1", "local", "remote_write", "remote_apply"]
        .iter()
        .any(|durable| value.eq_ignore_ascii_case(durable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Certainty, Class, PinReason};
    use crate::sql::{Reason, Transaction};

    fn verdict(effect: Effect, ddl: bool) -> Verdict {
        Verdict {
            class: Class::Write,
            reason: Reason::SessionState,
            statements: 1,
            command: "SET",
            transaction: Transaction::None,
            effect,
            relations: Box::default(),
            names: Box::default(),
            returns: Box::default(),
            ends: false,
            own_values: false,
            empties: None,
            channels: false,
            bound: false,
            ddl,
            repeatable: true,
        }
    }

    fn set(value: &str) -> Effect {
        let value = Value::Constant(value.into());
        Effect::Changes(Box::new([Change::Set { name: "synchronous_commit".into(), value }]))
    }

    #[test]
    fn whatever_may_switch_it_on_counts() {
        let on = |text: &str, effect, ddl| may_be_switched_on(text.as_bytes(), &verdict(effect, ddl));
        assert!(on("SET synchronous_commit = off", set("off"), false));
        assert!(on("SET synchronous_commit = 0", set("0"), false));
        assert!(!on("SET synchronous_commit = local", set("local"), false));
        assert!(!on("SET synchronous_commit TO 'ON'", set("ON"), false));
        let local = || Effect::Changes(Box::new([Change::Local]));
        assert!(on("set local Synchronous_Commit to off", local(), false));
        assert!(!on("SET LOCAL work_mem = '1MB'", local(), false));
        let pins = Effect::Pins(PinReason::Procedure, Certainty::Possible);
        assert!(on("DO $$ BEGIN SET LOCAL synchronous_commit = off; END $$", pins, false));
        assert!(on("CREATE FUNCTION f() … SET synchronous_commit = off …", Effect::None, true));
        assert!(!on("SELECT 'synchronous_commit'", Effect::None, false));
        let from_start = |name, value| is_on_from_the_start(&Tracked::new([(name, value)]));
        assert!(from_start("synchronous_commit", "off") && !from_start("synchronous_commit", "remote_apply"));
        assert!(!from_start("work_mem", "off"));
    }
}
