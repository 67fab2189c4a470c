package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// mostOthers bounds the issuers that tokens may refer to.
const mostOthers = 64

// others are the keys of issuers that an issuer's tokens refer to for their groups.
type others struct {
	mu sync.Mutex
	by map[string]*keys
}

func (o *others) keys(url string, client *http.Client) (*keys, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := o.by[url]; k != nil {
		return k, nil
	}
	if !strings.HasPrefix(url, "https://") || len(o.by) >= mostOthers {
		return nil, fmt.Errorf("issuer %q is not followed", url)
	}
	if o.by == nil {
		o.by = map[string]*keys{}
	}
	o.by[url] = &keys{issuer: url, discovery: strings.TrimSuffix(url, "/") + wellKnown, client: client}
	return o.by[url], nil
}

// expand fetches the groups where the token says only where they are (OpenID Connect Core 1.0, section 5.6.2): a token by
// another issuer, at an address that this issuer has signed for.
func (i *issuer) expand(ctx context.Context, c claims) error {
	claim := i.cfg.ClaimMappings.Groups.Claim
	if _, here := c[claim]; here || claim == "" || c["_claim_names"] == nil {
		return nil
	}
	var names map[string]string
	if err := c.get("_claim_names", &names); err != nil {
		return fmt.Errorf("oidc: error parsing distributed claim names: %w", err)
	}
	if c["_claim_sources"] == nil {
		return errors.New("oidc: no claim sources")
	}
	var sources map[string]struct {
		URL   string `json:"endpoint"`
		Token string `json:"access_token"`
	}
	if err := c.get("_claim_sources", &sources); err != nil {
		return fmt.Errorf("oidc: could not parse claim sources: %w", err)
	}
	name, ok := names[claim]
	if !ok {
		return nil
	}
	source, ok := sources[name]
	if !ok {
		return fmt.Errorf("id token _claim_names contained a source %s missing in _claims_sources", name)
	}
	if source.URL == "" {
		return nil
	}
	token, err := i.fetch(ctx, source.URL, source.Token)
	if err != nil {
		return fmt.Errorf("while getting distributed claim %q: %w", claim, err)
	}
	keys, err := i.others.keys(issuerOf(token), i.client)
	if err != nil {
		return err
	}
	found, err := verify(ctx, token, keys, i.algorithms, i.cfg.Issuer.Audiences, i.now())
	if err != nil {
		return fmt.Errorf("verify distributed claim token: %w", err)
	}
	if found[claim] == nil {
		return fmt.Errorf("jwt returned by distributed claim endpoint %q did not contain claim: %v", source.URL, claim)
	}
	c[claim] = found[claim]
	return nil
}

func (i *issuer) fetch(ctx context.Context, url, token string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := i.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("error while getting distributed claim JWT: %v", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostBytes))
	return strings.TrimSpace(string(body)), err
}
