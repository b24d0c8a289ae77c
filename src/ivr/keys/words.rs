//! What every deed is called: in a configuration, in speech and on a card.

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Skip,
    Operator,
    LogIn,
    LeaveMessage,
    Accept,
    Listen,
    RecordAgain,
    Urgent,
    NotUrgent,
    Private,
    NotPrivate,
    Cancel,
    Play,
    Folders,
    Advanced,
    Options,
    Help,
    Exit,
    Previous,
    Repeat,
    Next,
    Delete,
    Undelete,
    Forward,
    Save,
    SkipForward,
    SkipBack,
    Pause,
    Restart,
    Resume,
    Slower,
    Faster,
    Quieter,
    Louder,
    Reply,
    CallBack,
    Envelope,
    DialOut,
    Compose,
    PlayAll,
    DeleteHeard,
    MarkNew,
    Order,
    Return,
    New,
    Old,
    Work,
    Family,
    Friends,
    Cust1,
    Cust2,
    Cust3,
    Cust4,
    Cust5,
    Trash,
    Unavailable,
    Busy,
    Name,
    Temporary,
    Pin,
    Greetings,
    Record,
    Erase,
    Expiry,
    ByNumber,
    ByName,
    WithIntro,
    AsIs,
    Call,
    OtherNumber,
    Select,
    NextName,
}

/// What a deed is called in a configuration, in speech, and on a card.
#[derive(Debug)]
pub struct Words {
    pub name: &'static str,
    /// "To do this, press", before the key; empty for what no menu tells.
    pub sound: &'static str,
    /// Asterisk's sentence for it, which names the usual key.
    pub whole: Option<&'static str>,
    pub card: &'static str,
}

impl Act {
    /// What takes a mark away is done by the key that sets it.
    pub(super) fn done_by(self) -> Self {
        match self {
            Self::Undelete => Self::Delete,
            Self::NotUrgent => Self::Urgent,
            Self::NotPrivate => Self::Private,
            act => act,
        }
    }
}

/// Asterisk has one sentence for several keys.
pub(super) fn composite(acts: &[Act]) -> Option<(&[Act], &'static str)> {
    COMPOSITES
        .iter()
        .find_map(|(whole, name)| acts.starts_with(whole).then(|| (&acts[..whole.len()], *name)))
}

pub(super) fn words(act: Act) -> &'static Words {
    // Each has its row: a test counts them.
    ACTS.iter().find(|(known, _)| *known == act).map_or(&ACTS[0].1, |(_, words)| words)
}

const COMPOSITES: &[(&[Act], &str)] = &[
    (&[Act::Accept, Act::Listen, Act::RecordAgain], "vm-review"),
    (&[Act::Folders, Act::Advanced, Act::Options], "vm-opts"),
    (&[Act::Help, Act::Exit], "vm-helpexit"),
    (
        &[Act::Unavailable, Act::Busy, Act::Name, Act::Temporary, Act::Pin, Act::Return],
        "vm-options",
    ),
    (&[Act::ByNumber, Act::ByName], "vm-forward"),
    (&[Act::WithIntro, Act::AsIs], "vm-forwardoptions"),
    (&[Act::Record, Act::Erase], "vm-tempgreeting2"),
    (&[Act::Select, Act::NextName], "dir-instr"),
];

const fn row(
    act: Act,
    [name, sound, card]: [&'static str; 3],
    whole: Option<&'static str>,
) -> (Act, Words) {
    (act, Words { name, sound, whole, card })
}

/// Every deed.
pub const ACTS: &[(Act, Words)] = &[
    row(Act::Skip, ["skip", "", "go straight to the tone"], None),
    row(Act::Operator, ["operator", "menu/operator", "reach the operator"], Some("vm-reachoper")),
    row(Act::LogIn, ["log-in", "", "log in to the mailbox"], None),
    row(Act::LeaveMessage, ["leave-message", "menu/leave-message", "leave a message"], None),
    row(Act::Accept, ["accept", "menu/accept", "accept the recording"], None),
    row(Act::Listen, ["listen", "menu/listen", "listen to it"], None),
    row(Act::RecordAgain, ["record-again", "menu/record-again", "record it again"], None),
    row(Act::Urgent, ["urgent", "menu/urgent", "mark it urgent"], Some("vm-review-urgent")),
    row(
        Act::NotUrgent,
        ["not-urgent", "menu/not-urgent", "remove the urgent mark"],
        Some("vm-review-nonurgent"),
    ),
    row(Act::Private, ["private", "menu/private", "mark it private"], None),
    row(Act::NotPrivate, ["not-private", "menu/not-private", "remove the private mark"], None),
    row(Act::Cancel, ["cancel", "menu/cancel", "cancel"], None),
    row(Act::Play, ["play", "menu/play", "listen to the messages"], None),
    row(Act::Folders, ["folders", "menu/folders", "change folders"], None),
    row(Act::Advanced, ["advanced", "menu/advanced", "hear advanced options"], Some("vm-advopts")),
    row(Act::Options, ["options", "menu/options", "hear the mailbox options"], None),
    row(Act::Help, ["help", "menu/help", "hear this again in full"], None),
    row(Act::Exit, ["exit", "menu/exit", "exit"], None),
    row(Act::Previous, ["previous", "menu/previous", "hear the previous message"], Some("vm-prev")),
    row(Act::Repeat, ["repeat", "menu/repeat", "repeat this message"], Some("vm-repeat")),
    row(Act::Next, ["next", "menu/next", "hear the next message"], Some("vm-next")),
    row(Act::Delete, ["delete", "menu/delete", "delete this message"], Some("vm-delete")),
    row(Act::Undelete, ["undelete", "menu/undelete", "restore this message"], Some("vm-undelete")),
    row(Act::Forward, ["forward", "menu/forward", "forward this message"], Some("vm-toforward")),
    row(Act::Save, ["save", "menu/save", "save this message in a folder"], Some("vm-savemessage")),
    row(Act::SkipForward, ["skip-forward", "", "skip forward"], None),
    row(Act::SkipBack, ["skip-back", "", "skip back"], None),
    row(Act::Pause, ["pause", "", "pause"], None),
    row(Act::Restart, ["restart", "", "start again from the beginning"], None),
    row(Act::Resume, ["resume", "", "go on listening"], None),
    row(Act::Slower, ["slower", "", "listen more slowly"], None),
    row(Act::Faster, ["faster", "", "listen faster"], None),
    row(Act::Quieter, ["quieter", "", "turn the volume down"], None),
    row(Act::Louder, ["louder", "", "turn the volume up"], None),
    row(Act::Reply, ["reply", "menu/reply", "reply to the sender"], Some("vm-toreply")),
    row(Act::CallBack, ["call-back", "menu/call-back", "call the sender"], Some("vm-tocallback")),
    row(
        Act::Envelope,
        ["envelope", "menu/envelope", "hear when and from whom it came"],
        Some("vm-tohearenv"),
    ),
    row(Act::DialOut, ["dial-out", "menu/dial-out", "place a call"], Some("vm-tomakecall")),
    row(
        Act::Compose,
        ["compose", "menu/compose", "send a message to another mailbox"],
        Some("vm-leavemsg"),
    ),
    row(Act::PlayAll, ["play-all", "menu/play-all", "hear all messages in one go"], None),
    row(
        Act::DeleteHeard,
        ["delete-heard", "menu/delete-heard", "delete all messages that you have heard"],
        None,
    ),
    row(Act::MarkNew, ["mark-new", "menu/mark-new", "keep this message as new"], None),
    row(Act::Order, ["order", "menu/order", "change the order of messages"], None),
    row(Act::Return, ["return", "menu/return", "return to the main menu"], Some("vm-starmain")),
    row(Act::New, ["new-messages", "menu/new-messages", "new messages"], None),
    row(Act::Old, ["old-messages", "menu/old-messages", "old messages"], None),
    row(Act::Work, ["work", "menu/work", "work messages"], None),
    row(Act::Family, ["family", "menu/family", "family messages"], None),
    row(Act::Friends, ["friends", "menu/friends", "messages of friends"], None),
    row(Act::Cust1, ["folder-5", "", "folder 5"], None),
    row(Act::Cust2, ["folder-6", "", "folder 6"], None),
    row(Act::Cust3, ["folder-7", "", "folder 7"], None),
    row(Act::Cust4, ["folder-8", "", "folder 8"], None),
    row(Act::Cust5, ["folder-9", "", "folder 9"], None),
    row(Act::Trash, ["deleted", "menu/deleted", "deleted messages"], None),
    row(
        Act::Unavailable,
        ["unavailable", "menu/unavailable", "record the greeting for when you are unavailable"],
        None,
    ),
    row(Act::Busy, ["busy", "menu/busy", "record the greeting for when you are busy"], None),
    row(Act::Name, ["name", "menu/name", "record your name"], None),
    row(Act::Temporary, ["temporary", "menu/temporary", "record a temporary greeting"], None),
    row(Act::Pin, ["pin", "menu/pin", "change your PIN"], None),
    row(Act::Greetings, ["greetings", "menu/greetings", "hear or erase your greetings"], None),
    row(Act::Record, ["record", "menu/record", "record it"], None),
    row(Act::Erase, ["erase", "menu/erase", "erase it"], None),
    row(Act::Expiry, ["expiry", "menu/expiry", "set the day when it ends"], None),
    row(Act::ByNumber, ["by-number", "menu/by-number", "enter a mailbox number"], None),
    row(Act::ByName, ["by-name", "menu/by-name", "find somebody by name"], None),
    row(Act::WithIntro, ["with-intro", "menu/with-intro", "record an introduction first"], None),
    row(Act::AsIs, ["as-is", "menu/as-is", "send it as it is"], None),
    row(Act::Call, ["call", "menu/call", "call this number"], Some("vm-tocallnum")),
    row(
        Act::OtherNumber,
        ["other-number", "menu/other-number", "enter another number"],
        Some("vm-calldiffnum"),
    ),
    row(Act::Select, ["select", "menu/select", "choose this person"], None),
    row(Act::NextName, ["next-name", "menu/next-name", "hear the next name"], None),
];
