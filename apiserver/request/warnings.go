package request

import (
	"context"
	"net/http"
	"sync"
	"unicode/utf8"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Warnings collects the texts that an answer carries in Warning headers, each once.
type Warnings struct {
	mu     sync.Mutex
	header http.Header
	seen   map[string]bool
	// size counts bytes: past maxWarnings texts are cut, and past twice that dropped, so that headers stay small.
	size int
}

const (
	maxWarnings  = 4 * 1024
	warningShort = 256
)

// WithWarnings returns a context whose warnings go into header, which must not have been sent yet when they are added.
func WithWarnings(ctx context.Context, header http.Header) context.Context {
	return context.WithValue(ctx, warningsKey, &Warnings{header: header, seen: map[string]bool{}})
}

// Warn adds a warning to the answer of ctx's request. Outside a request it does nothing.
func Warn(ctx context.Context, text string) {
	w, _ := ctx.Value(warningsKey).(*Warnings)
	if w == nil || text == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[text] || w.size > 2*maxWarnings {
		return
	}
	w.seen[text] = true
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
