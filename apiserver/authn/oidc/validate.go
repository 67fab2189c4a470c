package oidc

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const mostIssuers = 64

// compiled are the expressions of an Authenticator.
type compiled struct {
	username, groups, uid *expression
	extra                 []*expression // as ClaimMappings.Extra
	claimRules            []rule
	userRules             []rule
	required              []ClaimRule
}

type rule struct {
	*expression
	message string
}

// check validates a file and compiles what is in it. own are the issuers of this server's own tokens. The texts of errors
// are upstream's.
func (c *Configuration) check(own []string) ([]*compiled, field.ErrorList) {
	root := field.NewPath("jwt")
	if len(c.JWT) > mostIssuers {
		return nil, field.ErrorList{field.TooMany(root, len(c.JWT), mostIssuers)}
	}
	var errs field.ErrorList
	var out []*compiled
	urls, discoveries := map[string]bool{}, map[string]bool{}
	for i := range c.JWT {
		a, at := &c.JWT[i], root.Index(i)
		v := &checking{}
		v.issuer(&a.Issuer, own, at.Child("issuer"))
		v.claimRules(a.ClaimValidationRules, at.Child("claimValidationRules"))
		v.mappings(&a.ClaimMappings, at.Child("claimMappings"))
		v.userRules(a.UserValidationRules, at.Child("userValidationRules"))
		if urls[a.Issuer.URL] {
			v.add(field.Duplicate(at.Child("issuer", "url"), a.Issuer.URL))
		}
		urls[a.Issuer.URL] = true
		if d := a.Issuer.DiscoveryURL; d != nil && *d != "" {
			if discoveries[*d] {
				v.add(field.Duplicate(at.Child("issuer", "discoveryURL"), *d))
			}
			discoveries[*d] = true
		}
		errs = append(errs, v.errs...)
		out = append(out, &v.out)
	}
	if c.Anonymous != nil && !c.Anonymous.Enabled && len(c.Anonymous.Conditions) > 0 {
		errs = append(errs, field.Invalid(field.NewPath("anonymous", "conditions"), c.Anonymous.Conditions, "enabled should be set to true when conditions are defined"))
	}
	return out, errs
}

// checking is one Authenticator on its way.
type checking struct {
	out  compiled
	errs field.ErrorList
	// verified says that an expression looks at claims.email_verified.
	verified bool
}

func (v *checking) add(err *field.Error) { v.errs = append(v.errs, err) }

func (v *checking) compile(text, variable string, path *field.Path, kind string) *expression {
	want := map[string]bool{"bool": true, "string": true}
	types := anyStrings
	if want[kind] {
		types = oneString
	}
	if kind == "bool" {
		types = truth
	}
	e, err := compile(text, variable, types, kind)
	if err != nil {
		v.add(field.Invalid(path, text, err.Error()))
		return nil
	}
	return e
}

func (v *checking) issuer(s *Source, own []string, path *field.Path) {
	if s.URL == "" {
		v.add(field.Required(path.Child("url"), ""))
	} else {
		if slices.Contains(own, s.URL) {
			v.add(field.Invalid(path.Child("url"), s.URL, fmt.Sprintf("URL must not overlap with disallowed issuers: %s", slices.Sorted(slices.Values(own)))))
		}
		v.url(s.URL, path.Child("url"))
	}
	if d := s.DiscoveryURL; d != nil && *d != "" {
		if s.URL != "" && strings.TrimRight(s.URL, "/") == strings.TrimRight(*d, "/") {
			v.add(field.Invalid(path.Child("discoveryURL"), *d, "discoveryURL must be different from URL"))
		}
		v.url(*d, path.Child("discoveryURL"))
	}
	v.audiences(s, path)
	if _, err := pool(s.CertificateAuthority); err != nil {
		v.add(field.Invalid(path.Child("certificateAuthority"), "<omitted>", err.Error()))
	}
	if s.EgressSelectorType != "" {
		v.add(field.Invalid(path.Child("egressSelectorType"), s.EgressSelectorType, "egress selectors are not supported: this server has one way out"))
	}
}

func (v *checking) url(text string, path *field.Path) {
	u, err := url.Parse(text)
	if err != nil {
		v.add(field.Invalid(path, text, err.Error()))
		return
	}
	for _, bad := range []struct {
		is   bool
		text string
	}{{u.Scheme != "https", "URL scheme must be https"}, {u.User != nil, "URL must not contain a username or password"},
		{u.RawQuery != "", "URL must not contain a query"}, {u.Fragment != "", "URL must not contain a fragment"}} {
		if bad.is {
			v.add(field.Invalid(path, text, bad.text))
		}
	}
}

func (v *checking) audiences(s *Source, path *field.Path) {
	list := path.Child("audiences")
	if len(s.Audiences) == 0 {
		v.add(field.Required(list, fmt.Sprintf("at least one %s is required", list)))
		return
	}
	for i, a := range s.Audiences {
		if a == "" {
			v.add(field.Required(list.Index(i), ""))
		}
		if slices.Contains(s.Audiences[:i], a) {
			v.add(field.Duplicate(list.Index(i), a))
		}
	}
	policy := path.Child("audienceMatchPolicy")
	switch {
	case s.AudienceMatchPolicy == "MatchAny":
	case len(s.Audiences) > 1:
		v.add(field.Invalid(policy, s.AudienceMatchPolicy, "audienceMatchPolicy must be MatchAny for multiple audiences"))
	case s.AudienceMatchPolicy != "":
		v.add(field.Invalid(policy, s.AudienceMatchPolicy, "audienceMatchPolicy must be empty or MatchAny for single audience"))
	}
}

func (v *checking) claimRules(rules []ClaimRule, path *field.Path) {
	claims, expressions := map[string]bool{}, map[string]bool{}
	for i, r := range rules {
		at := path.Index(i)
		switch {
		case r.Claim != "" && r.Expression != "":
			v.add(field.Invalid(at, r.Claim, "claim and expression can't both be set"))
		case r.Claim == "" && r.Expression == "":
			v.add(field.Required(at, "claim or expression is required"))
		case r.Claim != "":
			if r.Message != "" {
				v.add(field.Invalid(at.Child("message"), r.Message, "may not be specified when claim is set"))
			}
			if claims[r.Claim] {
				v.add(field.Duplicate(at.Child("claim"), r.Claim))
			}
			claims[r.Claim] = true
			v.out.required = append(v.out.required, r)
		default:
			if r.RequiredValue != "" {
				v.add(field.Invalid(at.Child("requiredValue"), r.RequiredValue, "may not be specified when expression is set"))
			}
			if expressions[r.Expression] {
				v.add(field.Duplicate(at.Child("expression"), r.Expression))
				continue
			}
			expressions[r.Expression] = true
			if e := v.compile(r.Expression, claimsVariable, at.Child("expression"), "bool"); e != nil {
				v.verified = v.verified || e.selects("email_verified")
				v.out.claimRules = append(v.out.claimRules, rule{e, r.Message})
			}
		}
	}
}

func (v *checking) userRules(rules []UserRule, path *field.Path) {
	seen := map[string]bool{}
	for i, r := range rules {
		at := path.Index(i).Child("expression")
		switch {
		case r.Expression == "":
			v.add(field.Required(at, ""))
		case seen[r.Expression]:
			v.add(field.Duplicate(at, r.Expression))
		default:
			seen[r.Expression] = true
			if e := v.compile(r.Expression, userVariable, at, "bool"); e != nil {
				v.out.userRules = append(v.out.userRules, rule{e, r.Message})
			}
		}
	}
}

func (v *checking) mappings(m *ClaimMappings, path *field.Path) {
	v.out.username = v.mapping(&m.Username, path.Child("username"), true, "string")
	v.out.groups = v.mapping(&m.Groups, path.Child("groups"), false, "one of [string list(string)]")
	if m.UID.Prefix != nil {
		v.add(field.Invalid(path.Child("uid", "prefix"), *m.UID.Prefix, "may not be specified"))
	}
	switch {
	case m.UID.Claim != "" && m.UID.Expression != "":
		v.add(field.Invalid(path.Child("uid"), "", "claim and expression can't both be set"))
	case m.UID.Expression != "":
		v.out.uid = v.compile(m.UID.Expression, claimsVariable, path.Child("uid", "expression"), "string")
	}
	v.extra(m.Extra, path.Child("extra"))
	// An address that nobody verified is anybody's.
	if u := v.out.username; u != nil && u.selects("email") && !u.selects("email_verified") && !v.verified {
		v.add(field.Invalid(path.Child("username", "expression"), m.Username.Expression, "claims.email_verified must be used in "+
			"claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression "+
			"when claims.email is used in claimMappings.username.expression"))
	}
}

func (v *checking) mapping(m *Mapping, path *field.Path, required bool, kind string) *expression {
	switch {
	case m.Expression != "" && m.Claim != "":
		v.add(field.Invalid(path, "", "claim and expression can't both be set"))
	case m.Expression != "":
		if m.Prefix != nil {
			v.add(field.Invalid(path.Child("prefix"), *m.Prefix, "may not be specified when expression is set"))
		}
		return v.compile(m.Expression, claimsVariable, path.Child("expression"), kind)
	case m.Claim != "" && m.Prefix == nil:
		v.add(field.Required(path.Child("prefix"), "prefix is required when claim is set. It can be set to an empty string to disable prefixing"))
	case m.Claim == "" && required:
		v.add(field.Required(path, "claim or expression is required"))
	}
	return nil
}

func (v *checking) extra(extra []Extra, path *field.Path) {
	seen := map[string]bool{}
	for i, x := range extra {
		at := path.Index(i)
		v.errs = append(v.errs, utilvalidation.IsDomainPrefixedPath(at.Child("key"), x.Key)...)
		if x.Key != strings.ToLower(x.Key) {
			v.add(field.Invalid(at.Child("key"), x.Key, "must be lowercase"))
		}
		if domain, _, _ := strings.Cut(x.Key, "/"); reserved(domain) {
			v.add(field.Invalid(at.Child("key"), x.Key, "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"))
		}
		var e *expression
		switch {
		case seen[x.Key]:
			v.add(field.Duplicate(at.Child("key"), x.Key))
		case x.ValueExpression == "":
			v.add(field.Required(at.Child("valueExpression"), ""))
		default:
			e = v.compile(x.ValueExpression, claimsVariable, at.Child("valueExpression"), "one of [string list(string)]")
		}
		seen[x.Key] = true
		if e != nil {
			v.verified = v.verified || e.selects("email_verified")
		}
		v.out.extra = append(v.out.extra, e)
	}
}

func reserved(domain string) bool {
	for _, d := range []string{"k8s.io", "kubernetes.io"} {
		if domain == d || strings.HasSuffix(domain, "."+d) {
			return true
		}
	}
	return false
}
