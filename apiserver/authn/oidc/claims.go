package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/cel-go/common/types/ref"

	"github.com/skiff-project/skiff/apiserver/request"
)

// claims are a token's, not decoded yet.
type claims map[string]json.RawMessage

func (c claims) get(name string, into any) error {
	raw, ok := c[name]
	if !ok {
		return errors.New("claim not present")
	}
	return json.Unmarshal(raw, into)
}

// value is what expressions see.
func (c claims) value() (ref.Val, error) {
	out := map[string]any{}
	for name, raw := range c {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("claim %q failed to unmarshal: %w", name, err)
		}
		out[name] = v
	}
	return celValue(out), nil
}

// strings is a claim that is a string or a list of them.
type stringList []string

func (s *stringList) UnmarshalJSON(b []byte) error {
	var list []string
	if json.Unmarshal(b, &list) == nil {
		*s = list
		return nil
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*s = []string{one}
	return nil
}

// user maps claims, and asks the rules.
func (i *issuer) user(ctx context.Context, c claims) (user *request.User, err error) {
	value, err := c.value()
	if err != nil {
		return nil, fmt.Errorf("oidc: parse claims: %w", err)
	}
	user = &request.User{}
	if user.Name, err = i.username(ctx, c, value); err != nil {
		return nil, err
	}
	if user.Groups, err = i.groups(ctx, c, value); err != nil {
		return nil, err
	}
	if user.UID, err = i.uid(ctx, c, value); err != nil {
		return nil, err
	}
	if user.Extra, err = i.extra(ctx, c, value); err != nil {
		return nil, err
	}
	if err := i.required(c); err != nil {
		return nil, err
	}
	for _, r := range i.compiled.claimRules {
		if err := r.require(ctx, value, r.message); err != nil {
			return nil, fmt.Errorf("oidc: error evaluating claim validation expression: %w", err)
		}
	}
	if len(i.compiled.userRules) == 0 {
		return user, nil
	}
	seen := celValue(map[string]any{"username": user.Name, "uid": user.UID, "groups": user.Groups, "extra": user.Extra})
	for _, r := range i.compiled.userRules {
		if err := r.require(ctx, seen, r.message); err != nil {
			return nil, fmt.Errorf("oidc: error evaluating user info validation rule: %w", err)
		}
	}
	return user, nil
}

func (i *issuer) username(ctx context.Context, c claims, value ref.Val) (string, error) {
	if e := i.compiled.username; e != nil {
		name, err := e.evalString(ctx, value)
		if err != nil {
			return "", fmt.Errorf("oidc: error evaluating username claim expression: %w", err)
		}
		if name == "" {
			return "", errors.New("oidc: empty username via CEL expression is not allowed")
		}
		return name, nil
	}
	m := i.cfg.ClaimMappings.Username
	var name string
	if err := c.get(m.Claim, &name); err != nil {
		return "", fmt.Errorf("oidc: parse username claims %q: %w", m.Claim, err)
	}
	if _, said := c["email_verified"]; said && m.Claim == "email" {
		var verified bool
		if err := c.get("email_verified", &verified); err != nil {
			return "", fmt.Errorf("oidc: parse 'email_verified' claim: %w", err)
		}
		if !verified {
			return "", errors.New("oidc: email not verified")
		}
	}
	return prefixOf(&m) + name, nil
}

func prefixOf(m *Mapping) string {
	if m.Prefix == nil {
		return ""
	}
	return *m.Prefix
}

func (i *issuer) groups(ctx context.Context, c claims, value ref.Val) ([]string, error) {
	m := i.cfg.ClaimMappings.Groups
	if _, ok := c[m.Claim]; ok && m.Claim != "" {
		var groups stringList
		if err := c.get(m.Claim, &groups); err != nil {
			return nil, fmt.Errorf("oidc: parse groups claim %q: %w", m.Claim, err)
		}
		for i := range groups {
			groups[i] = prefixOf(&m) + groups[i]
		}
		return groups, nil
	}
	if i.compiled.groups == nil {
		return nil, nil
	}
	groups, err := i.compiled.groups.evalStrings(ctx, value)
	if err != nil {
		return nil, fmt.Errorf("oidc: error evaluating group claim expression: %w", err)
	}
	return groups, nil
}

func (i *issuer) uid(ctx context.Context, c claims, value ref.Val) (uid string, err error) {
	switch name := i.cfg.ClaimMappings.UID.Claim; {
	case name != "":
		if err := c.get(name, &uid); err != nil {
			return "", fmt.Errorf("oidc: parse uid claim %q: %w", name, err)
		}
	case i.compiled.uid != nil:
		if uid, err = i.compiled.uid.evalString(ctx, value); err != nil {
			return "", fmt.Errorf("oidc: error evaluating uid claim expression: %w", err)
		}
	}
	return uid, nil
}

func (i *issuer) extra(ctx context.Context, c claims, value ref.Val) (map[string][]string, error) {
	out := map[string][]string{}
	var id string
	if c.get("jti", &id) == nil && id != "" {
		out[credentialID] = []string{"JTI=" + id}
	}
	for n, e := range i.compiled.extra {
		values, err := e.evalStrings(ctx, value)
		if err != nil {
			return nil, fmt.Errorf("oidc: error evaluating extra claim expression: %s: %w", e.text, err)
		}
		if len(values) > 0 {
			out[i.cfg.ClaimMappings.Extra[n].Key] = values
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

func (i *issuer) required(c claims) error {
	for _, r := range i.compiled.required {
		if _, ok := c[r.Claim]; !ok {
			return fmt.Errorf("oidc: required claim %s not present in ID token", r.Claim)
		}
		var have string
		if err := c.get(r.Claim, &have); err != nil {
			return fmt.Errorf("oidc: parse claim %s: %w", r.Claim, err)
		}
		if have != r.RequiredValue {
			return fmt.Errorf("oidc: required claim %s value does not match. Got = %s, want = %s", r.Claim, have, r.RequiredValue)
		}
	}
	return nil
}
