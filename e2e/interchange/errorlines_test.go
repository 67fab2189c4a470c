package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLinesOfOneCauseAreOneCause(t *testing.T) {
	same := func(a, b string) {
		t.Helper()
		ma, mb := klogError.FindStringSubmatch(a), klogError.FindStringSubmatch(b)
		require.NotNil(t, ma, a)
		require.NotNil(t, mb, b)
		require.Equal(t, cause(ma[1], ma[2]), cause(mb[1], mb[2]))
	}
	same(`E1123 12:36:01.123456      41 replica_set.go:562] "Unhandled Error" err="sync \"a/b-5d78c\" failed" logger="x"`,
		`E1123 12:37:02.999999       7 replica_set.go:562] "Unhandled Error" err="sync \"c/d-66f4b\" failed" logger="x"`)
	same(`E1123 12:36:01.123456      41 controller.go:145] Failed to ensure lease kept-7d8f9a6b5c exists, will retry in 200ms`,
		`E1123 12:36:01.123456      41 controller.go:145] Failed to ensure lease kept-11aabbccdd exists, will retry in 400ms`)
	require.Nil(t, klogError.FindStringSubmatch(`I1123 12:36:01.123456      41 a.go:1] "fine"`))
	other := klogError.FindStringSubmatch(`E1123 12:36:01.123456      41 other.go:1] "Another message"`)
	have := &errorLines{causes: map[string]string{"scheduler " + cause(other[1], other[2]): "its line", "proxy x": "another line"}}
	acting, rest := have.beyond(&errorLines{})
	require.Equal(t, []string{"its line"}, acting)
	require.Equal(t, []string{"another line"}, rest)
	acting, rest = have.beyond(have)
	require.Empty(t, append(acting, rest...))
}
