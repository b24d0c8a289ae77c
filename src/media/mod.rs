//! Media: RTP in and out, free of voicemail.
