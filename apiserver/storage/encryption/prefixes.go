package encryption

import (
	"bytes"
	"context"
	"errors"
	"strings"
)

// prefixes chooses among transformers by the first bytes of a value. The first one writes.
type prefixes struct {
	list []prefixed
	// none is the error for a value that begins otherwise.
	none error
}

type prefixed struct {
	prefix string
	transformer
}

func (p *prefixes) seal(ctx context.Context, place string, plain []byte) ([]byte, error) {
	first := p.list[0]
	sealed, err := first.seal(ctx, place, plain)
	if err != nil || first.prefix == "" {
		return sealed, err
	}
	return append(append(make([]byte, 0, len(first.prefix)+len(sealed)), first.prefix...), sealed...), nil
}

// open tries every transformer with a fitting prefix: two keys may have one name.
func (p *prefixes) open(ctx context.Context, place string, sealed []byte) ([]byte, bool, error) {
	var failed []error
	for i, t := range p.list {
		if len(sealed) < len(t.prefix) || string(sealed[:len(t.prefix)]) != t.prefix {
			continue
		}
		plain, stale, err := t.open(ctx, place, sealed[len(t.prefix):])
		switch {
		case err == nil:
			return plain, stale || i > 0, nil
		case t.prefix != "":
			// That identity does not read what is encrypted is no news.
			failed = append(failed, err)
		}
	}
	switch len(failed) {
	case 0:
		return nil, false, p.none
	case 1:
		return nil, false, failed[0]
	}
	return nil, false, joined(failed)
}

// joined reads like upstream's aggregates: [one, two].
func joined(errs []error) error {
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	return errors.New("[" + strings.Join(texts, ", ") + "]")
}

// identity stores values as they are.
type identity struct{}

var (
	encrypted    = []byte("k8s:enc:")
	errEncrypted = errors.New("identity transformer tried to read encrypted data")
	errNoPrefix  = errors.New("no matching prefix found")
)

func (identity) seal(_ context.Context, _ string, plain []byte) ([]byte, error) { return plain, nil }

func (identity) open(_ context.Context, _ string, sealed []byte) ([]byte, bool, error) {
	if bytes.HasPrefix(sealed, encrypted) {
		return nil, false, errEncrypted
	}
	return sealed, false, nil
}
