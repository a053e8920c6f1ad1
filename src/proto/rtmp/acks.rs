//! Acknowledgements of received bytes.   Spec: Adobe RTMP 1.0, sections 5.4.3 and 5.4.4.
//!
//! In: how many bytes came from the peer, and the window it announced.  Out: when to send an
//! Acknowledgement (type 3) and with which sequence number.
//!
//! Invariants: the sequence number is the count of all bytes received since the first byte of the
//! handshake, modulo 2^32. At most one acknowledgement is asked for in one call.
//!
//! Deviations: an acknowledgement goes out at half a window, so that a peer which stops sending at a full
//! window never has to. A peer that announced no window (Wirecast) is acknowledged by a default one.

/// Window in bytes assumed when neither the peer nor the configuration names one.
pub const DEFAULT_WINDOW: u32 = 2_500_000;

/// Counts the bytes of one connection and says when the peer is to be told.
///
/// Feed it every byte read from the transport, those of the handshake too.
#[derive(Debug, Clone)]
pub struct AckWindow {
    window: u32,
    total: u32,
    pending: u32,
}

impl AckWindow {
    /// A window of `in_ack_size` bytes until the peer announces its own; 0 means [`DEFAULT_WINDOW`].
    #[must_use]
    pub fn new(in_ack_size: u32) -> Self {
        Self::starting_at(in_ack_size, 0)
    }

    /// Like [`AckWindow::new`], for a connection that has received `total` bytes (modulo 2^32) before.
    #[must_use]
    pub fn starting_at(in_ack_size: u32, total: u32) -> Self {
        let window = if in_ack_size == 0 { DEFAULT_WINDOW } else { in_ack_size };
        Self { window, total, pending: 0 }
    }

    /// The peer announced a window of `bytes` (Window Acknowledgement Size, type 5). Zero is ignored.
    pub fn set_window(&mut self, bytes: u32) {
        if bytes > 0 {
            self.window = bytes;
        }
    }

    /// Bytes received so far, modulo 2^32.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// The window in force, in bytes.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window
    }

    /// Counts `bytes` received. When half a window is reached: the sequence number to acknowledge now.
    pub fn received(&mut self, bytes: usize) -> Option<u32> {
        // The sequence number is defined modulo 2^32, so the upper half of a 64-bit count has no part in it.
        self.total = self.total.wrapping_add(bytes as u32);
        self.pending = self.pending.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.pending == 0 || self.pending < self.window / 2 {
            return None;
        }
        self.pending = 0;
        Some(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_at_half_the_window_with_the_total() {
        let mut acks = AckWindow::new(1000);
        assert_eq!(acks.received(499), None);
        assert_eq!(acks.received(1), Some(500));
        assert_eq!(acks.received(100), None);
        assert_eq!(acks.received(5000), Some(5600), "one ack however much came");
        assert_eq!(acks.received(0), None);
    }

    #[test]
    fn a_peer_that_names_no_window_is_still_acknowledged() {
        let mut acks = AckWindow::new(0);
        assert_eq!(acks.received(1_249_999), None);
        assert_eq!(acks.received(1), Some(1_250_000));
    }

    #[test]
    fn the_peers_window_replaces_ours_and_zero_does_not() {
        let mut acks = AckWindow::new(0);
        acks.set_window(0);
        assert_eq!(acks.window(), DEFAULT_WINDOW);
        acks.set_window(10);
        assert_eq!(acks.received(5), Some(5));
        acks.set_window(1);
        assert_eq!(acks.received(1), Some(6));
        assert_eq!(acks.received(0), None);
    }

    #[test]
    fn the_sequence_wraps_at_four_gib_and_never_stalls() {
        let mut acks = AckWindow::starting_at(1000, u32::MAX - 99);
        assert_eq!(acks.received(400), None);
        assert_eq!(acks.received(100), Some(400));
        assert_eq!(acks.received(500), Some(900));
    }

    #[test]
    fn many_gib_in_steps_are_acknowledged_by_total_modulo_2_32() {
        let mut acks = AckWindow::new(2_500_000);
        let (mut total, mut last, mut sent) = (0u64, 0u64, 0);
        while total < 9 << 30 {
            total += 65_536;
            if let Some(sequence) = acks.received(65_536) {
                assert_eq!(sequence, (total % (1 << 32)) as u32);
                assert!(total - last <= 2_500_000);
                last = total;
                sent += 1;
            }
        }
        assert!(sent > 7000);
    }
}
