//! First packets.
