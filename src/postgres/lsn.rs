//! Positions in the write-ahead log: where a record can end, and where the insert position only seems to point.

/// The layout of the log, fixed when a server is initialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalLayout {
    /// Bytes per page.
    pub(crate) page: u64,
    /// Bytes per segment file.
    pub(crate) segment: u64,
}

/// Each page begins with a header, a segment's first page with a longer one (`XLogPageHeaderData`, `XLogLongPageHeaderData`).
const PAGE_HEADER: u64 = 0x18;
const SEGMENT_HEADER: u64 = 0x28;

impl WalLayout {
    /// The end of the last record before `insert`. The insert position points behind the next page's header when a record ends with its page;
    /// replay stays before that header until another record comes.
    pub(crate) fn last_record_end(self, insert: u64) -> u64 {
        let header = match insert.checked_rem(self.segment) {
            Some(offset) if offset < self.page => SEGMENT_HEADER,
            _ => PAGE_HEADER,
        };
        if insert.checked_rem(self.page) == Some(header) { insert - header } else { insert }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAYOUT: WalLayout = WalLayout { page: 8192, segment: 16 << 20 };

    /// What the server does: advances over page headers.
    fn insert_after(end: u64) -> u64 {
        if !end.is_multiple_of(LAYOUT.page) {
            end
        } else if end.is_multiple_of(LAYOUT.segment) {
            end + SEGMENT_HEADER
        } else {
            end + PAGE_HEADER
        }
    }

    #[test]
    fn headers_are_taken_off() {
        assert_eq!(
            LAYOUT.last_record_end(0x300_0018),
            0x300_0018,
            "a segment's first page has the longer header"
        );
        assert_eq!(LAYOUT.last_record_end(0x300_0028), 0x300_0000);
        assert_eq!(LAYOUT.last_record_end(0x300_2018), 0x300_2000);
        assert_eq!(LAYOUT.last_record_end(0x300_2028), 0x300_2028);
        assert_eq!(LAYOUT.last_record_end(0x300_2020), 0x300_2020);
        assert_eq!(WalLayout { page: 0, segment: 0 }.last_record_end(24), 24);
    }

    proptest! {
        #[test]
        fn a_record_s_end_is_found_again(page in 0u64..8192, offset in prop_oneof![Just(0u64), (5u64..1024).prop_map(|eights| eights * 8)]) {
            // A record never ends inside a header; 0x28 on an ordinary page can be its first record's end, on a segment's first page it cannot.
            let end = page * LAYOUT.page + offset;
            prop_assume!(end % LAYOUT.segment != SEGMENT_HEADER);
            prop_assert_eq!(LAYOUT.last_record_end(insert_after(end)), end);
        }
    }
}
