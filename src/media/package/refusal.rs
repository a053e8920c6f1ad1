//! Which container can carry what, and what to tell a client who asks for one that cannot.

use super::{Container, fmp4};
use crate::wire::avtag::{AudioCodec, VideoCodec};

/// The container's name in a sentence.
fn name(container: Container) -> &'static str {
    match container {
        Container::Ts => "MPEG-TS",
        Container::Aac => "AAC",
        Container::Mp3 => "MP3",
        Container::Fmp4 => "fragmented MP4",
    }
}

fn carries_audio(container: Container, codec: AudioCodec) -> bool {
    let mp3 = matches!(codec, AudioCodec::Mp3 | AudioCodec::Mp38k);
    match container {
        Container::Fmp4 => fmp4::carries_audio(codec),
        Container::Aac => codec == AudioCodec::Aac,
        Container::Mp3 => mp3,
        _ => mp3 || codec == AudioCodec::Aac,
    }
}

fn unfit(container: Container, codec: AudioCodec) -> String {
    format!("{} cannot carry this stream's audio, which is {codec}", name(container))
}

/// Why a stream with a picture goes without its sound in this container, in one line; `None`: it does not.
pub fn silence(container: Container, video: Option<VideoCodec>, audio: Option<AudioCodec>) -> Option<String> {
    let codec = audio.filter(|codec| video.is_some() && !carries_audio(container, *codec))?;
    Some(unfit(container, codec))
}

/// Why a stream with these tracks cannot be had in this container, in one line for status 415; `None`: it can.
///
/// A container for pictures must be able to carry the stream's video. Audio that it cannot carry beside video is left
/// out of what is sent, so that a camera with G.711 sound is still seen.
pub fn refusal(container: Container, video: Option<VideoCodec>, audio: Option<AudioCodec>) -> Option<String> {
    if container == Container::Fmp4 {
        return fmp4::refusal(video, audio);
    }
    let is_sound = container != Container::Ts;
    let to = name(container);
    match (video.filter(|_| !is_sound), audio) {
        (Some(VideoCodec::Avc | VideoCodec::Hevc), _) => None,
        (Some(codec), _) => Some(format!("{to} cannot carry this stream's video, which is {codec}")),
        (None, Some(codec)) if carries_audio(container, codec) => None,
        (None, Some(codec)) => Some(unfit(container, codec)),
        (None, None) if is_sound => Some(format!("this stream has no audio for {to}")),
        (None, None) => Some(format!("this stream has no audio or video for {to}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_container_is_refused_for() {
        use AudioCodec::{Aac, G711A, Mp3, Opus};
        use VideoCodec::{Av1, Avc, Hevc};
        let asked = [
            (Container::Ts, Some(Avc), Some(Aac), None),
            (Container::Ts, Some(Hevc), Some(Mp3), None),
            (Container::Ts, Some(Avc), Some(G711A), None),
            (Container::Ts, None, Some(Mp3), None),
            (
                Container::Ts,
                Some(Av1),
                Some(Aac),
                Some("MPEG-TS cannot carry this stream's video, which is AV1"),
            ),
            (
                Container::Ts,
                None,
                Some(Opus),
                Some("MPEG-TS cannot carry this stream's audio, which is Opus"),
            ),
            (Container::Ts, None, None, Some("this stream has no audio or video for MPEG-TS")),
            (Container::Aac, Some(Av1), Some(Aac), None),
            (
                Container::Aac,
                Some(Avc),
                Some(Mp3),
                Some("AAC cannot carry this stream's audio, which is MP3"),
            ),
            (Container::Aac, Some(Avc), None, Some("this stream has no audio for AAC")),
            (Container::Mp3, None, Some(AudioCodec::Mp38k), None),
            (Container::Mp3, None, Some(Aac), Some("MP3 cannot carry this stream's audio, which is AAC")),
            (
                Container::Ts,
                Some(VideoCodec::FourCc(*b"a\r\nb")),
                None,
                Some("MPEG-TS cannot carry this stream's video, which is video codec 'a\\r\\nb'"),
            ),
        ];
        for (container, video, audio, expected) in asked {
            let said = refusal(container, video, audio);
            assert_eq!(said.as_deref(), expected, "{container:?} {video:?} {audio:?}");
        }
        let silent = |container, video, audio| silence(container, video, Some(audio)).is_some();
        assert!(silent(Container::Ts, Some(Avc), Opus) && !silent(Container::Ts, Some(Avc), Mp3));
        assert!(silent(Container::Fmp4, Some(Avc), G711A) && !silent(Container::Fmp4, Some(Av1), Opus));
        assert!(!silent(Container::Ts, None, Opus), "that is refused");
    }
}
