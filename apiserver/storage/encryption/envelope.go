package encryption

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// sourceType says what the encrypted secret of an envelope is.
type sourceType uint64

const (
	sourceKey  sourceType = 0 // an AES-GCM key itself, of versions before v1.29
	sourceSeed sourceType = 1 // what AES-GCM keys are derived from, one for each value
)

// envelope is a value as a KMS provider stores it:
//
//	message EncryptedObject {
//	  bytes encryptedData = 1;
//	  string keyID = 2;                    // the plugin's, of its key
//	  bytes encryptedDEKSource = 3;        // our key or seed, encrypted by the plugin
//	  map<string, bytes> annotations = 4;  // the plugin's, given back to it with the above
//	  EncryptedDEKSourceType encryptedDEKSourceType = 5;
//	}
type envelope struct {
	data        []byte
	keyID       string
	source      []byte
	annotations map[string][]byte
	typ         sourceType
}

// Bounds of what a plugin may have stored with every value.
const (
	mostKeyID       = 1 << 10
	mostSource      = 1 << 10
	mostAnnotations = 32 << 10
)

func (e *envelope) validate() error {
	if e.typ != sourceKey && e.typ != sourceSeed {
		return fmt.Errorf("unknown encryptedDEKSourceType: %d", e.typ)
	}
	if len(e.data) == 0 {
		return errors.New("encrypted data is empty")
	}
	return e.validateSource()
}

// validateSource checks what came from a plugin.
func (e *envelope) validateSource() error {
	switch {
	case len(e.source) == 0:
		return errors.New("failed to validate encrypted DEK source: encrypted DEK source is empty")
	case len(e.source) > mostSource:
		return fmt.Errorf("failed to validate encrypted DEK source: encrypted DEK source is %d bytes, which exceeds the max size of %d", len(e.source), mostSource)
	}
	if err := validateKeyID(e.keyID); err != nil {
		return fmt.Errorf("failed to validate key id: %w", err)
	}
	size := 0
	for key, value := range e.annotations {
		size += len(key) + len(value)
		if errs := validation.IsFullyQualifiedDomainName(field.NewPath("annotations"), key); len(errs) > 0 {
			return fmt.Errorf("failed to validate annotations: %w", errs.ToAggregate())
		}
	}
	if size > mostAnnotations {
		return fmt.Errorf("failed to validate annotations: total size of annotations is %d, which exceeds the max size of %d", size, mostAnnotations)
	}
	return nil
}

func validateKeyID(id string) error {
	switch {
	case id == "":
		return errors.New("keyID is empty")
	case len(id) > mostKeyID:
		return fmt.Errorf("keyID is %d bytes, which exceeds the max size of %d", len(id), mostKeyID)
	}
	return nil
}

func (e *envelope) marshal() []byte {
	field := func(b []byte, n protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), value)
	}
	b := make([]byte, 0, len(e.data)+len(e.keyID)+len(e.source)+32)
	b = field(b, 1, e.data)
	b = field(b, 2, []byte(e.keyID))
	b = field(b, 3, e.source)
	for _, key := range slices.Sorted(maps.Keys(e.annotations)) {
		b = field(b, 4, field(field(nil, 1, []byte(key)), 2, e.annotations[key]))
	}
	if e.typ != 0 {
		b = protowire.AppendVarint(protowire.AppendTag(b, 5, protowire.VarintType), uint64(e.typ))
	}
	return b
}

// unmarshal makes e refer to parts of b.
func (e *envelope) unmarshal(b []byte) error {
	return eachField(b, func(n protowire.Number, bytes []byte, number uint64) error {
		switch n {
		case 1:
			e.data = bytes
		case 2:
			e.keyID = string(bytes)
		case 3:
			e.source = bytes
		case 4:
			var key string
			var value []byte
			err := eachField(bytes, func(n protowire.Number, b []byte, _ uint64) error {
				switch n {
				case 1:
					key = string(b)
				case 2:
					value = b
				}
				return nil
			})
			if err != nil {
				return err
			}
			if e.annotations == nil {
				e.annotations = map[string][]byte{}
			}
			e.annotations[key] = value
		case 5:
			e.typ = sourceType(number)
		}
		return nil
	})
}

// eachField goes through a message: bytes of fields that have them, the number of varints.
func eachField(b []byte, visit func(n protowire.Number, bytes []byte, number uint64) error) error {
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		var bytes []byte
		var number uint64
		switch typ {
		case protowire.BytesType:
			bytes, size = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		default:
			size = protowire.ConsumeFieldValue(n, typ, b)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		if err := visit(n, bytes, number); err != nil {
			return err
		}
	}
	return nil
}

// derived seals each value with a key of its own, derived from a seed and 32 random bytes that are stored in front of the
// value. No key is ever used twice, so the number of writes needs no bound.
type derived struct{ seed []byte }

const (
	seedSize = 32
	infoSize = 32
)

func newDerived(seed []byte) (transformer, error) {
	if len(seed) < seedSize {
		return nil, fmt.Errorf("invalid seed length %d used for key generation", len(seed))
	}
	return derived{seed}, nil
}

func (d derived) key(info []byte) (transformer, error) {
	key, err := hkdf.Expand(sha256.New, d.seed, string(info), 32)
	if err != nil {
		return nil, fmt.Errorf("failed to KDF expand seed with info: %w", err)
	}
	return newGCM(key)
}

func (d derived) seal(ctx context.Context, place string, plain []byte) ([]byte, error) {
	info := make([]byte, infoSize)
	if _, err := rand.Read(info); err != nil {
		return nil, err
	}
	g, err := d.key(info)
	if err != nil {
		return nil, err
	}
	sealed, err := g.seal(ctx, place, plain)
	return append(info, sealed...), err
}

func (d derived) open(ctx context.Context, place string, sealed []byte) ([]byte, bool, error) {
	if len(sealed) < infoSize {
		return nil, false, errShort
	}
	g, err := d.key(sealed[:infoSize])
	if err != nil {
		return nil, false, err
	}
	return g.open(ctx, place, sealed[infoSize:])
}
