//! Which greeting a caller hears.

use std::fmt;

/// A recording of the owner's, by the name that Asterisk gives its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Greeting {
    Temporary,
    Unavailable,
    Busy,
    /// The owner's spoken name.
    Name,
}

impl Greeting {
    /// The file's name without its extension.
    pub fn stem(self) -> &'static str {
        match self {
            Self::Temporary => "temp",
            Self::Unavailable => "unavail",
            Self::Busy => "busy",
            Self::Name => "greet",
        }
    }
}

impl fmt::Display for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.stem())
    }
}

/// Which of the owner's recordings exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub temporary: bool,
    pub unavailable: bool,
    pub busy: bool,
    pub name: bool,
}

impl Recorded {
    /// As they are at this time: a temporary greeting has an end.
    pub fn at(self, now: i64, temporary_until: Option<i64>) -> Self {
        let temporary = self.temporary && temporary_until.is_none_or(|until| now < until);
        Self { temporary, ..self }
    }

    pub fn has(self, greeting: Greeting) -> bool {
        match greeting {
            Greeting::Temporary => self.temporary,
            Greeting::Unavailable => self.unavailable,
            Greeting::Busy => self.busy,
            Greeting::Name => self.name,
        }
    }

    /// The same for one who is talking already: then what greets the others.
    pub fn for_busy(self) -> Option<Greeting> {
        if self.busy && !self.temporary { Some(Greeting::Busy) } else { self.for_no_answer() }
    }

    /// The recording that greets a caller whose call was not answered; `None` where the owner has
    /// recorded nothing that could.
    pub fn for_no_answer(self) -> Option<Greeting> {
        if self.temporary {
            Some(Greeting::Temporary)
        } else if self.unavailable {
            Some(Greeting::Unavailable)
        } else if self.name {
            Some(Greeting::Name)
        } else {
            None
        }
    }
}
