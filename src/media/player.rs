//! Sounds to frames: one sound after another, joined without a gap.

use std::sync::Arc;

use super::codec::Codec;
use super::sound::Sound;

#[derive(Debug)]
pub(super) struct Player {
    sounds: std::vec::IntoIter<Arc<Sound>>,
    current: Option<Arc<Sound>>,
    offset: usize,
    codec: Codec,
}

impl Player {
    /// Plays those of `sounds` that are encoded in `codec`; any other cannot be heard.
    pub fn new(sounds: Vec<Arc<Sound>>, codec: Codec) -> Self {
        let mut player = Self { sounds: sounds.into_iter(), current: None, offset: 0, codec };
        player.advance();
        player
    }

    pub fn is_finished(&self) -> bool {
        self.current.is_none()
    }

    /// Fills a frame, the last one of all with silence at its end.
    pub fn fill(&mut self, frame: &mut [u8]) {
        let mut filled = 0;
        while let Some(sound) = &self.current {
            let rest = &sound.encoded()[self.offset..];
            let take = rest.len().min(frame.len() - filled);
            frame[filled..filled + take].copy_from_slice(&rest[..take]);
            filled += take;
            self.offset += take;
            if take == rest.len() {
                self.advance();
            }
            if filled == frame.len() {
                return;
            }
        }
        frame[filled..].fill(self.codec.silence());
    }

    fn advance(&mut self) {
        let codec = self.codec;
        self.offset = 0;
        self.current =
            self.sounds.find(|sound| sound.codec() == codec && !sound.encoded().is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(byte: u8, length: usize) -> Arc<Sound> {
        Arc::new(Sound::from_encoded(vec![byte; length], Codec::Pcmu))
    }

    #[test]
    fn sounds_are_joined_within_a_frame_and_the_last_is_filled_up() {
        let foreign = Arc::new(Sound::from_encoded(vec![9; 9], Codec::Pcma));
        let sounds = vec![sound(1, 3), foreign, sound(2, 4), sound(3, 0)];
        let mut player = Player::new(sounds, Codec::Pcmu);
        let mut frame = [0; 4];
        player.fill(&mut frame);
        assert_eq!((frame, player.is_finished()), ([1, 1, 1, 2], false));
        player.fill(&mut frame);
        assert_eq!((frame, player.is_finished()), ([2, 2, 2, 0xff], true));
    }

    #[test]
    fn a_whole_frame_ends_with_the_frame() {
        let mut player = Player::new(vec![sound(1, 4)], Codec::Pcmu);
        let mut frame = [0; 4];
        player.fill(&mut frame);
        assert!(player.is_finished());
        assert!(Player::new(Vec::new(), Codec::Pcmu).is_finished());
    }
}
