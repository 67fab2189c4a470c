package encryption

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/secretbox"
)

// transformer is a way to store. place is where the value is in etcd, which some ways bind it to.
type transformer interface {
	seal(ctx context.Context, place string, plain []byte) ([]byte, error)
	// open also says whether the value is stale. It must not change sealed; what it returns may be a part of it.
	open(ctx context.Context, place string, sealed []byte) (plain []byte, stale bool, err error)
}

var (
	errShort   = errors.New("the stored data was shorter than the required size")
	errBlock   = errors.New("the stored data is not a multiple of the block size")
	errEmpty   = errors.New("invalid PKCS7 data (empty or not padded)")
	errPadding = errors.New("invalid padding on input")
	// Upstream's text for a value that the key does not open.
	errBox = errors.New("output array was not large enough for encryption")
)

// gcm is AES-GCM with random nonces. A key is good for 2^32 writes.
type gcm struct{ aead cipher.AEAD }

func newGCM(key []byte) (transformer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return gcm{aead}, err
}

func (g gcm) seal(_ context.Context, place string, plain []byte) ([]byte, error) {
	nonce := make([]byte, g.aead.NonceSize(), g.aead.NonceSize()+len(plain)+g.aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return g.aead.Seal(nonce, nonce, plain, []byte(place)), nil
}

func (g gcm) open(_ context.Context, place string, sealed []byte) ([]byte, bool, error) {
	n := g.aead.NonceSize()
	if len(sealed) < n {
		return nil, false, errShort
	}
	plain, err := g.aead.Open(nil, sealed[:n], sealed[n:], []byte(place))
	return plain, false, err
}

// cbc is AES-CBC with PKCS#7 padding. Nothing authenticates the value.
type cbc struct{ block cipher.Block }

func newCBC(key []byte) (transformer, error) {
	block, err := aes.NewCipher(key)
	return cbc{block}, err
}

func (c cbc) seal(_ context.Context, _ string, plain []byte) ([]byte, error) {
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	out := make([]byte, aes.BlockSize+len(plain)+padding)
	iv, body := out[:aes.BlockSize], out[aes.BlockSize:]
	if _, err := rand.Read(iv); err != nil {
		return nil, err
	}
	for i := copy(body, plain); i < len(body); i++ {
		body[i] = byte(padding)
	}
	cipher.NewCBCEncrypter(c.block, iv).CryptBlocks(body, body)
	return out, nil
}

func (c cbc) open(_ context.Context, _ string, sealed []byte) ([]byte, bool, error) {
	if len(sealed) < aes.BlockSize {
		return nil, false, errShort
	}
	iv, body := sealed[:aes.BlockSize], sealed[aes.BlockSize:]
	switch {
	case len(body)%aes.BlockSize != 0:
		return nil, false, errBlock
	case len(body) == 0:
		return nil, false, errEmpty
	}
	plain := make([]byte, len(body))
	cipher.NewCBCDecrypter(c.block, iv).CryptBlocks(plain, body)
	last := plain[len(plain)-1]
	if last == 0 || int(last) > len(plain) {
		return nil, false, errEmpty
	}
	end := len(plain) - int(last)
	for _, b := range plain[end:] {
		if b != last {
			return nil, false, errPadding
		}
	}
	return plain[:end], false, nil
}

// box is XSalsa20 and Poly1305.
type box struct{ key [32]byte }

const boxNonce = 24

func newBox(key []byte) (transformer, error) { return &box{[32]byte(key)}, nil }

func (b *box) seal(_ context.Context, _ string, plain []byte) ([]byte, error) {
	var nonce [boxNonce]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	return secretbox.Seal(nonce[:], plain, &nonce, &b.key), nil
}

func (b *box) open(_ context.Context, _ string, sealed []byte) ([]byte, bool, error) {
	if len(sealed) < boxNonce+secretbox.Overhead {
		return nil, false, errShort
	}
	plain, ok := secretbox.Open(nil, sealed[boxNonce:], (*[boxNonce]byte)(sealed), &b.key)
	if !ok {
		return nil, false, errBox
	}
	return plain, false, nil
}

// withKeys tries named keys.
func withKeys(name string, keys *Keys, make func([]byte) (transformer, error)) (*prefixes, error) {
	p := &prefixes{none: fmt.Errorf("no matching key was found for the provided %s transformer", name)}
	for _, key := range keys.Keys {
		secret, err := base64.StdEncoding.DecodeString(key.Secret)
		if err != nil {
			return nil, fmt.Errorf("could not obtain secret for named key %s: %w", key.Name, err)
		}
		t, err := make(secret)
		if err != nil {
			return nil, fmt.Errorf("error while creating cipher for named key %s: %w", key.Name, err)
		}
		p.list = append(p.list, prefixed{key.Name + ":", t})
	}
	return p, nil
}
