package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"sync"
	"time"

	"github.com/skiff-project/skiff/apiserver/request"
)

const (
	tokenTTL = 10 * time.Second
	certTTL  = time.Minute
	// cacheSize bounds both caches. A cache that is full is emptied: what is in use comes back at once.
	cacheSize = 8192
)

type cachedToken struct {
	user      *request.User
	audiences []string
	until     time.Time
}

// tokenCache remembers tokens by hash, so that memory holds none of them.
type tokenCache struct {
	mu sync.RWMutex
	m  map[[32]byte]cachedToken
}

func cacheKey(token string, audiences []string) [32]byte {
	return sha256.Sum256([]byte(token + "\x00" + strings.Join(audiences, "\x00")))
}

func (c *tokenCache) get(key [32]byte) (cachedToken, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	hit, ok := c.m[key]
	return hit, ok && time.Now().Before(hit.until)
}

func (c *tokenCache) put(key [32]byte, t cachedToken) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= cacheSize {
		c.m = map[[32]byte]cachedToken{}
	}
	c.m[key] = t
}

// certCache remembers what certificates said, for as long as a connection would otherwise verify its certificate for
// every request: crypto/tls hands out one pointer for equal certificates.
type certCache struct {
	mu sync.RWMutex
	m  map[*x509.Certificate]cachedCert
}

type cachedCert struct {
	user  *request.User
	until time.Time
}

func (c *certCache) authenticate(chain []*x509.Certificate, roots func() *x509.CertPool) (*request.User, error) {
	c.mu.RLock()
	hit, ok := c.m[chain[0]]
	c.mu.RUnlock()
	now := time.Now()
	if ok && now.Before(hit.until) {
		return hit.user, nil
	}
	if err := verify(chain, roots()); err != nil {
		return nil, err
	}
	user, err := certUser(chain[0])
	if err != nil {
		return nil, err
	}
	until := now.Add(certTTL)
	if end := chain[0].NotAfter; end.Before(until) {
		until = end
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= cacheSize {
		c.m = map[*x509.Certificate]cachedCert{}
	}
	c.m[chain[0]] = cachedCert{user, until}
	return user, nil
}
