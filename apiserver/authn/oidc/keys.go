package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

const (
	// mostBytes bounds what an issuer may answer.
	mostBytes = 1 << 20
	// askTimeout bounds one question to an issuer.
	askTimeout = 10 * time.Second
	// askEvery is how often an issuer's keys are asked for at most, whatever keys tokens name.
	askEvery = time.Second
)

// keys are an issuer's public keys.
type keys struct {
	issuer, discovery string
	client            *http.Client

	// asking is held while the issuer is asked; url, where the keys are, and asked belong to it.
	asking sync.Mutex
	url    string
	asked  time.Time

	// mu guards what tokens need, and is never held for long: a token with an unknown key must not hold up the others.
	mu   sync.Mutex
	set  *jose.JSONWebKeySet
	last error
}

// discover asks the issuer. It blocks for askTimeout at most.
func (k *keys) discover(ctx context.Context) error {
	k.asking.Lock()
	defer k.asking.Unlock()
	return k.ask(ctx)
}

// ask fetches the keys and keeps what came of it. The caller holds asking.
func (k *keys) ask(ctx context.Context) error {
	k.asked = time.Now()
	set, err := k.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last = err; err == nil {
		k.set = set
	}
	return err
}

// fetch finds out where the keys are, if that is not known, and gets them. The caller holds asking.
func (k *keys) fetch(ctx context.Context) (*jose.JSONWebKeySet, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if k.url == "" {
		var doc struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := k.get(ctx, k.discovery, &doc); err != nil {
			return nil, err
		}
		if doc.Issuer != k.issuer {
			return nil, fmt.Errorf("oidc: issuer did not match the issuer returned by provider, expected %q got %q", k.issuer, doc.Issuer)
		}
		if doc.Keys == "" {
			return nil, errors.New("provider did not return JWKS URL")
		}
		k.url = doc.Keys
	}
	set := &jose.JSONWebKeySet{}
	if err := k.get(ctx, k.url, set); err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	return set, nil
}

func (k *keys) get(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := k.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostBytes))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", url, err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

// ready says why there are no keys.
func (k *keys) ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.set != nil {
		return nil
	}
	return errors.Join(errors.New("oidc: authenticator not initialized"), k.last)
}

// verify checks a signature and returns the payload. A key that is not known may be new.
func (k *keys) verify(ctx context.Context, token *jose.JSONWebSignature) ([]byte, error) {
	before := k.known()
	if payload, ok := try(before, token); ok {
		return payload, nil
	}
	k.asking.Lock()
	defer k.asking.Unlock()
	if now := k.known(); now == before && time.Since(k.asked) >= askEvery {
		if err := k.ask(ctx); err != nil {
			return nil, fmt.Errorf("failed to verify signature: %w", err)
		}
	}
	if payload, ok := try(k.known(), token); ok {
		return payload, nil
	}
	return nil, errors.New("failed to verify signature: failed to verify id token signature")
}

func (k *keys) known() *jose.JSONWebKeySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set
}

// try verifies by the keys at hand.
func try(set *jose.JSONWebKeySet, token *jose.JSONWebSignature) ([]byte, bool) {
	if set == nil {
		return nil, false
	}
	name := token.Signatures[0].Header.KeyID
	for i := range set.Keys {
		key := &set.Keys[i]
		if name != "" && key.KeyID != name || key.Use != "" && key.Use != "sig" || !key.IsPublic() {
			continue
		}
		if payload, err := token.Verify(key); err == nil {
			return payload, true
		}
	}
	return nil, false
}
