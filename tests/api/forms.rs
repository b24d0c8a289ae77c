//! How each face says no.

use super::tree::Tree;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Telebroad,
    Onsip,
    Telecomx,
    Yay,
    Telecmi,
    Ours,
}

impl Form {
    /// Whether this is a refusal, all of it as this face's clients expect it.
    pub fn refuses(self, answer: &str) -> bool {
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
        let status = head.get(9..12).unwrap_or_default();
        let kind = |kind: &str| {
            let head = head.to_ascii_lowercase();
            head.contains(&format!("\r\ncontent-type: {kind}"))
        };
        let json = Tree::read(body).unwrap_or(Tree::Null);
        let is_text =
            |value: Option<&Tree>| matches!(value, Some(Tree::Text(text)) if !text.is_empty());
        let says_status = |value: Option<&Tree>| value == Some(&Tree::Number(status.to_owned()));
        let failed = status.starts_with(['4', '5']);
        match self {
            Self::Telebroad => {
                let error = json.at("error").cloned().unwrap_or(Tree::Null);
                status == "200"
                    && kind("application/json")
                    && json.names() == ["error", "result"]
                    && json.at("result") == Some(&Tree::Null)
                    && error.names() == ["code", "message"]
                    && matches!(error.at("code"), Some(Tree::Number(_)))
                    && is_text(error.at("message"))
            }
            Self::Onsip => {
                let wanted = ["<IsCompleted>false</IsCompleted>", "<Error>", "<Code>", "<Message>"];
                status == "200"
                    && kind("text/xml")
                    && wanted.iter().all(|part| body.contains(part))
                    && !body.contains("<Result")
            }
            Self::Telecomx => {
                failed
                    && kind("application/json")
                    && json.names() == ["code", "message"]
                    && says_status(json.at("code"))
                    && is_text(json.at("message"))
            }
            Self::Yay => {
                failed
                    && kind("application/json")
                    && json.names() == ["result", "status_code", "status_message"]
                    && json.at("result") == Some(&Tree::Object(vec![]))
                    && says_status(json.at("status_code"))
                    && is_text(json.at("status_message"))
            }
            Self::Telecmi => {
                failed
                    && kind("application/json")
                    && json.names() == ["code", "msg"]
                    && says_status(json.at("code"))
                    && is_text(json.at("msg"))
            }
            Self::Ours => {
                failed
                    && kind("application/problem+json")
                    && json.names() == ["type", "title", "status", "detail"]
                    && says_status(json.at("status"))
                    && is_text(json.at("title"))
                    && is_text(json.at("detail"))
            }
        }
    }
}

pub const TELEBROAD: &str = "Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU=\r\n";
pub const ROOT: &str = "Authorization: Basic cm9vdDpjb3JyZWN0IGhvcnNl\r\n";
pub const YAY: &str = "X-Auth-Reseller: acme\r\nX-Auth-User: api-user\r\nX-Auth-Password: yay-secret\r\nUser-Agent: x\r\n";
