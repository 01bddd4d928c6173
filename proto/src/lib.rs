//! The contract of the mesh: messages, clients and servers generated from the `.proto` files beside this crate, and the
//! descriptor set that the edge reads. No logic lives here.

/// The descriptor set as the compiler wrote it, imports, options and comments included. The edge takes it as a file
/// , never as code.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/causeway.binpb"));

macro_rules! package {
    ($($name:literal)*) => {
        #[allow(missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated code")]
        pub mod v1 { $(include!(concat!(env!("OUT_DIR"), "/", $name, ".rs"));)* }
    };
}

/// Who may call a method and how it looks over REST: the options of the contract.
pub mod edge {
    package!("edge.v1");
}

/// Money: accounts, transfers, entries.
pub mod ledger {
    package!("ledger.v1");
}

/// Customers and their accounts.
pub mod accounts {
    package!("accounts.v1");
}

/// The shared cache.
pub mod cache {
    package!("cache.v1");
}

/// Documents and statements.
pub mod docs {
    package!("docs.v1");
}

/// Google's API types that the contract uses.
pub mod google {
    /// `google.api`: HTTP rules and bodies.
    #[allow(
        missing_docs,
        clippy::all,
        clippy::allow_attributes_without_reason,
        rustdoc::all,
        reason = "generated code"
    )]
    pub mod api {
        include!(concat!(env!("OUT_DIR"), "/google.api.rs"));
    }
    /// `google.type`: calendar dates.
    #[allow(
        missing_docs,
        clippy::all,
        clippy::allow_attributes_without_reason,
        rustdoc::all,
        reason = "generated code"
    )]
    pub mod r#type {
        include!(concat!(env!("OUT_DIR"), "/google.r#type.rs"));
    }
}
