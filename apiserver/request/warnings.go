package request

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"unicode/utf8"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// warnings collects the texts that an answer carries in Warning headers, each once.
type warnings struct {
	mu     sync.Mutex
	header http.Header
	seen   []string
	// size counts bytes: past maxWarnings texts are cut, and past twice that dropped, so that headers stay small.
	size int
}

const (
	maxWarnings  = 4 * 1024
	warningShort = 256
)

// Warn adds a warning to the answer of ctx's request. Outside a request it does nothing.
func Warn(ctx context.Context, text string) {
	s := StateFrom(ctx)
	if s == nil || text == "" {
		return
	}
	w := &s.warnings
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.header == nil || slices.Contains(w.seen, text) || w.size > 2*maxWarnings {
		return
	}
	w.seen = append(w.seen, text)
	if w.size > maxWarnings {
		text = shorten(text, warningShort)
	}
	w.size += len(text)
	if value, err := utilnet.NewWarningHeader(299, "", text); err == nil {
		w.header.Add("Warning", value)
	}
}

// shorten cuts between two runes.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
