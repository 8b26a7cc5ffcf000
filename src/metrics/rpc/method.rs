//! The methods that calls are counted under.

/// A method, as it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// How many messages go in which direction.
    pub kind: Kind,
}

/// How many messages a method's calls have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One each.
    Unary,
    /// One question, many answers.
    ServerStream,
    /// Many each.
    BidiStream,
}

/// The methods that calls are counted under; the one that is called most comes first.
pub const METHODS: &[Method] = &[
    unary("/tokenward.v1.TokenService/Authenticate"),
    unary("/tokenward.v1.TokenService/BatchAuthenticate"),
    unary("/tokenward.v1.TokenService/IssueToken"),
    unary("/tokenward.v1.TokenService/Revoke"),
    unary("/tokenward.v1.TokenService/RevokeAll"),
    unary("/tokenward.v1.TokenAdminService/GetToken"),
    unary("/tokenward.v1.TokenAdminService/ListTokens"),
    unary("/tokenward.v1.TokenAdminService/UpdateToken"),
    unary("/tokenward.v1.TokenAdminService/RotateToken"),
    stream("/tokenward.v1.TokenAdminService/WatchRevocations"),
    unary("/tokenward.v1.UserService/GetUser"),
    unary("/tokenward.v1.UserService/ListUsers"),
    unary("/tokenward.v1.UserService/UpsertUser"),
    unary("/tokenward.v1.UserService/DeleteUser"),
    unary("/tokenward.v1.CacheService/FlushCache"),
    unary("/tokenward.v1.CacheService/GetCacheStats"),
    unary("/tokenward.v1.CacheService/InspectCache"),
    unary("/tokenward.v1.StatusService/GetStatus"),
    unary("/envoy.service.auth.v3.Authorization/Check"),
    unary("/grpc.health.v1.Health/Check"),
    unary("/grpc.health.v1.Health/List"),
    stream("/grpc.health.v1.Health/Watch"),
    Method { path: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", kind: Kind::BidiStream },
    Method { path: "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", kind: Kind::BidiStream },
    UNKNOWN,
];
/// Stands for every other.
const UNKNOWN: Method = unary("/unknown/unknown");

const fn stream(path: &'static str) -> Method {
    Method { path, kind: Kind::ServerStream }
}

const fn unary(path: &'static str) -> Method {
    Method { path, kind: Kind::Unary }
}

// === impl Method ===

impl Method {
    /// The service and the method's name.
    pub(super) fn names(&self) -> (&'static str, &'static str) {
        self.path.trim_start_matches('/').split_once('/').expect("a path is /SERVICE/METHOD")
    }

    pub(super) fn labels(&self) -> [(&'static str, &'static str); 3] {
        let kind = match self.kind {
            Kind::Unary => "unary",
            Kind::ServerStream => "server_stream",
            Kind::BidiStream => "bidi_stream",
        };
        let (service, method) = self.names();
        [("grpc_type", kind), ("grpc_service", service), ("grpc_method", method)]
    }
}

#[cfg(test)]
mod tests {
    use super::METHODS;

    #[test]
    fn every_method_of_the_contract_has_a_name_of_its_own() {
        let pool = prost_reflect::DescriptorPool::decode(crate::proto::DESCRIPTORS).expect("build.rs wrote it");
        let named = |service: prost_reflect::ServiceDescriptor| {
            let path = |method: prost_reflect::MethodDescriptor| format!("/{}/{}", service.full_name(), method.name());
            service.methods().map(path).collect::<Vec<_>>()
        };
        let paths: Vec<_> = pool.services().flat_map(named).collect();
        assert!(paths.len() > 14, "{paths:?}");
        let known = |path: &String| METHODS.iter().any(|method| method.path == path);
        assert!(paths.iter().all(known), "{paths:?}");
    }
}
