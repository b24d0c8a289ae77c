//! SIP: signalling, free of voicemail.
