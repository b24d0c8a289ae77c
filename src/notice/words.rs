//! The words of letters that no template holds: what was changed, and a caller of whom nothing is
//! known. Pure.

/// A word's name, and it in English, Spanish, French, German, Italian and Portuguese.
type Row = (&'static str, [&'static str; 6]);

const LANGUAGES: [&str; 6] = ["en", "es", "fr", "de", "it", "pt"];

/// In the language of the reader; a name that is no word of ours stays as it is.
pub(super) fn word<'t>(name: &'t str, language: &str) -> &'t str {
    let base = language.split(['-', '_']).next().unwrap_or_default();
    let at = LANGUAGES.iter().position(|known| *known == base).unwrap_or(0);
    WORDS.iter().find(|(known, _)| *known == name).map_or(name, |(_, words)| words[at])
}

/// The same for several names with commas between.
pub(super) fn words(names: &str, language: &str) -> String {
    names.split(", ").map(|name| word(name, language)).collect::<Vec<_>>().join(", ")
}

const WORDS: [Row; 10] = [
    (
        "unknown",
        ["unknown", "desconocido", "un inconnu", "unbekannt", "sconosciuto", "desconhecido"],
    ),
    (
        "email",
        [
            "e-mail addresses",
            "direcciones de correo",
            "adresses e-mail",
            "E-Mail-Adressen",
            "indirizzi e-mail",
            "endereços de e-mail",
        ],
    ),
    (
        "notify_email",
        [
            "notices by e-mail",
            "avisos por correo",
            "avis par e-mail",
            "Benachrichtigung per E-Mail",
            "avvisi per e-mail",
            "avisos por e-mail",
        ],
    ),
    (
        "pager",
        [
            "notices by text message",
            "avisos por mensaje de texto",
            "avis par message court",
            "Benachrichtigung per Kurznachricht",
            "avvisi per messaggio di testo",
            "avisos por mensagem de texto",
        ],
    ),
    ("PIN", ["PIN", "PIN", "code", "PIN", "PIN", "PIN"]),
    (
        "mwi",
        [
            "message lamps",
            "indicadores de mensajes",
            "voyants de message",
            "Nachrichtenlampen",
            "spie dei messaggi",
            "luzes de mensagem",
        ],
    ),
    (
        "greeting",
        [
            "greeting",
            "saludo",
            "annonce d'accueil",
            "Begrüßung",
            "messaggio di benvenuto",
            "saudação",
        ],
    ),
    (
        "temporary greeting",
        [
            "temporary greeting",
            "saludo temporal",
            "annonce temporaire",
            "vorübergehende Begrüßung",
            "messaggio temporaneo",
            "saudação temporária",
        ],
    ),
    (
        "busy greeting",
        [
            "busy greeting",
            "saludo de ocupado",
            "annonce d'occupation",
            "Begrüßung bei Besetzt",
            "messaggio di occupato",
            "saudação de ocupado",
        ],
    ),
    (
        "recorded name",
        [
            "recorded name",
            "nombre grabado",
            "nom enregistré",
            "gesprochener Name",
            "nome registrato",
            "nome gravado",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_told_in_the_readers_language() {
        assert_eq!(words("email, PIN", "de-AT"), "E-Mail-Adressen, PIN");
        assert_eq!(words("busy greeting", "pt_BR"), "saudação de ocupado");
        assert_eq!(words("notify_email", "xx"), "notices by e-mail");
        assert_eq!(words("", "fr"), "");
        assert_eq!(word("unknown", "fr"), "un inconnu");
    }
}
