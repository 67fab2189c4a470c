// Package oidc lets people in whom others have authenticated: it verifies the tokens of OpenID Connect issuers, and makes
// users of their claims, as an AuthenticationConfiguration (apiserver.config.k8s.io/v1) says, or the older --oidc-* flags,
// which are turned into one (flags.go).
//
// A token is shown to the issuer whose URL it carries (issuer.go). Its signature is verified by keys found through
// discovery, which are asked for again when a token names one that is not known (keys.go). Then come the mappings of claims
// to user name, groups, UID and extras, rules on the claims, and rules on the user that results (claims.go); all of these may
// be CEL expressions (expressions.go), compiled and type-checked when the file is read (validate.go).
//
// The file may change while the server runs: a good one replaces the old one, a bad one is reported.
package oidc
