//! An edit on its way to the spool: it is told when it is done, not before.

use super::main_menu;
use super::messages::Announcing;
use super::{Command, Cx, Edit, Event, Menu};
use crate::mailbox::Folder;
use crate::say::Prompt::{self, Sound};
use crate::say::Shelf;

pub(super) struct Acting(Deed);

enum Deed {
    Delete,
    Restore,
    File(Shelf),
    /// All that was heard.
    Sweep,
}

impl Acting {
    pub(super) fn delete_or_restore(cx: &mut Cx) -> Menu {
        let Some(visit) = &cx.visit else { return Menu::Over };
        if visit.is_deleted() {
            Self::edit(Deed::Restore, Edit::Restore, cx)
        } else {
            Self::edit(Deed::Delete, Edit::Delete, cx)
        }
    }

    pub(super) fn file(shelf: Shelf, cx: &mut Cx) -> Menu {
        let edit = match &shelf {
            Shelf::New => Edit::New,
            Shelf::Old => Edit::File(Folder::Old),
            Shelf::Filed(folder) => Edit::File(folder.clone()),
        };
        Self::edit(Deed::File(shelf), edit, cx)
    }

    /// Everything that was heard goes to the trash; it can come back from there.
    pub(super) fn sweep(cx: &mut Cx) -> Menu {
        let Some(visit) = &mut cx.visit else { return Menu::Over };
        let heard = visit.items.iter().filter(|item| item.heard && item.folder != Folder::Deleted);
        let numbers: Vec<_> = heard.map(|item| item.number).collect();
        if numbers.is_empty() {
            return main_menu::enter(vec![Sound("vm-nothingheard")], cx);
        }
        cx.question(Command::Edit(numbers, Edit::Delete));
        Menu::Acting(Self(Deed::Sweep))
    }

    fn edit(deed: Deed, edit: Edit, cx: &mut Cx) -> Menu {
        let Some(message) = cx.visit.as_ref().and_then(|visit| visit.current()) else {
            return main_menu::enter(vec![Sound("vm-nomessage")], cx);
        };
        let numbers = vec![message.number];
        cx.question(Command::Edit(numbers, edit));
        Menu::Acting(Self(deed))
    }

    pub(super) fn on(self, event: &Event, cx: &mut Cx) -> Menu {
        match event {
            Event::Done { done: true } => self.done(cx),
            Event::Done { done: false } => main_menu::enter(vec![Sound("vm-notdone")], cx),
            _ => Menu::Acting(self),
        }
    }

    fn done(self, cx: &mut Cx) -> Menu {
        let Some(visit) = &mut cx.visit else { return Menu::Over };
        let number = visit.at.map_or(0, |at| at + 1);
        let next = if visit.play_all {
            // In one go is once.
            visit.at.and_then(|at| visit.in_one_go(at + 1))
        } else {
            visit.owner.wishes.next_after.then(|| visit.next()).flatten()
        };
        if let Deed::Sweep = self.0 {
            for item in visit.items.iter_mut().filter(|item| item.heard) {
                item.folder = Folder::Deleted;
            }
            return main_menu::enter(vec![Sound("vm-alldeleted")], cx);
        }
        let before = visit.current().map_or(Folder::Inbox, |message| message.folder.clone());
        let Some(item) = visit.current_mut() else { return Menu::Over };
        let said = match self.0 {
            Deed::Delete => {
                item.folder = Folder::Deleted;
                vec![Sound("vm-deleted")]
            }
            Deed::Restore => {
                item.folder = if before == Folder::Deleted { Folder::Inbox } else { before };
                vec![Sound("vm-undeleted")]
            }
            Deed::File(shelf) => {
                item.heard = shelf != Shelf::New;
                item.folder = match &shelf {
                    Shelf::New => Folder::Inbox,
                    Shelf::Old => Folder::Old,
                    Shelf::Filed(folder) => folder.clone(),
                };
                saved(number, shelf)
            }
            Deed::Sweep => vec![],
        };
        match next {
            Some(next) if !cx.caller_gone() => Announcing::after(said, next, cx),
            Some(_) | None => main_menu::enter(said, cx),
        }
    }
}

/// "Message three saved with your work messages."
fn saved(number: usize, shelf: Shelf) -> Vec<Prompt> {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    vec![
        Prompt::Either("position/message", vec![Sound("vm-message")]),
        Prompt::Number(number),
        Sound("vm-savedto"),
        Prompt::Shelf(shelf),
    ]
}
