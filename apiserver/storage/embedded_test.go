package storage

import (
	"context"
	"testing"
	"time"
)

// start gives a test a Store on an etcd of its own.
func start(t testing.TB) *Store {
	t.Helper()
	began := time.Now()
	e, err := StartEmbedded(EmbeddedConfig{DataDir: t.TempDir(), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	t.Logf("etcd serves after %s", time.Since(began))
	return New(e.Client, Config{})
}

func TestEmbeddedServes(t *testing.T) {
	s := start(t)
	if _, err := s.Create(context.Background(), "/registry/x/a", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	kv, err := s.Get(context.Background(), "/registry/x/a")
	if err != nil || string(kv.Value) != "v" {
		t.Fatalf("%+v, %v", kv, err)
	}
}
