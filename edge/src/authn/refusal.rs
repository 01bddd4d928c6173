//! Why credentials are not believed: one of a few refusals, with a cause from a short list and never a value out of a token, so
//! that nothing secret or hostile reaches an answer, a log line or a label. How a refusal is told is `error`'s business.

use chassis::transaction_token::TokenError;

/// Why credentials are not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A token that proves nothing.
    #[error("the token is not valid: {cause}")]
    TokenInvalid { cause: Cause },
    /// A token that was good once.
    #[error("the token has expired")]
    TokenExpired,
    /// A token that was taken back before it expired.
    #[error("the token has been revoked")]
    TokenRevoked,
    /// The token is bound to a key, and came as if whoever bears it could use it.
    #[error("the token is bound to a key that must be proven")]
    ProofRequired,
    /// A proof of possession that proves nothing.
    #[error("the proof of possession is not valid: {cause}")]
    ProofInvalid { cause: ProofCause },
    /// As many proofs are remembered as may be, and one that is not remembered could come twice.
    #[error("too many proofs of possession at once")]
    ProofsExhausted,
    /// The issuer that must be asked about the token cannot be asked at the moment.
    #[error("the token's issuer is not available")]
    IssuerUnavailable,
    /// The issuer's keys cannot be had at the moment, so nothing can be said about the token.
    #[error("the keys of the token's issuer are not available")]
    KeysUnavailable,
    /// The listener asks for a client certificate.
    #[error("a client certificate is required")]
    CertificateRequired,
    /// The certificate is genuine but does not say who this is.
    #[error("the client certificate is not accepted: {cause}")]
    CertificateInvalid { cause: CertificateCause },
    /// A service handed back a transaction token that was not minted for it, or is no longer good.
    #[error(transparent)]
    TransactionToken(TokenError),
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// More than one Authorization header, or one that is not `Bearer <token>` or `DPoP <token>`.
    Header,
    /// Credentials of this kind are not taken on this listener.
    Listener,
    /// Not a signed compact JWT in canonical form, or too large.
    Malformed,
    /// Demands extensions nobody here knows (`crit`, `b64`).
    Critical,
    /// Nobody the edge trusts issued it.
    Issuer,
    /// A token of another kind (`typ`).
    Type,
    /// Not an algorithm of its issuer.
    Algorithm,
    /// No key of its issuer.
    Key,
    Signature,
    /// Meant for somebody else.
    Audience,
    /// `nbf` or `iat` lies ahead.
    NotYet,
    /// Valid for longer than its issuer may say.
    Lifetime,
    /// A claim is missing or is not of its type.
    Claim,
    /// Its issuer says that it is none, or none any more.
    Inactive,
    /// Bound to a certificate or key that the client has not proven, or not bound where it must be.
    Binding,
}

impl Cause {
    /// The word in messages, metadata and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "authorization header",
            Self::Listener => "not taken on this listener",
            Self::Malformed => "malformed",
            Self::Critical => "unknown critical extension",
            Self::Issuer => "unknown issuer",
            Self::Type => "wrong type",
            Self::Algorithm => "algorithm not allowed",
            Self::Key => "unknown key",
            Self::Signature => "wrong signature",
            Self::Audience => "wrong audience",
            Self::NotYet => "not yet valid",
            Self::Lifetime => "lifetime too long",
            Self::Claim => "missing or malformed claim",
            Self::Inactive => "not active",
            Self::Binding => "not bound to this client",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with a proof of possession (RFC 9449 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofCause {
    /// Not exactly one `DPoP` header.
    Header,
    /// Not a signed compact JWT in canonical form.
    Malformed,
    /// A token of another kind.
    Type,
    /// Not one of the algorithms taken, or a header without a public key that fits.
    Key,
    Signature,
    /// The key is not the one that the token is bound to.
    Binding,
    /// A claim is missing or is not of its type.
    Claim,
    /// Made for another method or URL.
    Target,
    /// Made too long ago, or ahead of time.
    Time,
    /// Made for another token.
    Token,
    /// Seen before.
    Replayed,
}

impl ProofCause {
    /// The word in messages, metadata and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "not one DPoP header",
            Self::Malformed => "malformed",
            Self::Type => "wrong type",
            Self::Key => "no usable public key",
            Self::Signature => "wrong signature",
            Self::Binding => "not the key of the token",
            Self::Claim => "missing or malformed claim",
            Self::Target => "made for another request",
            Self::Time => "made at another time",
            Self::Token => "made for another token",
            Self::Replayed => "seen before",
        }
    }
}

impl std::fmt::Display for ProofCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<ProofCause> for Refusal {
    fn from(cause: ProofCause) -> Self {
        Self::ProofInvalid { cause }
    }
}

/// What is wrong with a client certificate that the handshake let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateCause {
    /// Outside its validity, perhaps since the handshake.
    Validity,
    /// Not issued for client authentication.
    Purpose,
    /// Not exactly one URI among its names, or one that is not known here.
    Name,
    /// Revoked, or of an authority that is no longer trusted, since the handshake.
    Standing,
}

impl CertificateCause {
    /// The word in messages, metadata and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validity => "not valid at this time",
            Self::Purpose => "not for client authentication",
            Self::Name => "unknown name",
            Self::Standing => "no longer vouched for",
        }
    }
}

impl std::fmt::Display for CertificateCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self::TokenInvalid { cause }
    }
}

impl From<CertificateCause> for Refusal {
    fn from(cause: CertificateCause) -> Self {
        Self::CertificateInvalid { cause }
    }
}
