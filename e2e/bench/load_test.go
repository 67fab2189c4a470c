package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEventsAreCountedWhereverTheStreamIsCut(t *testing.T) {
	const stream = `{"type":"ADDED","object":{"metadata":{"resourceVersion":"7"}}}` + "\n" +
		`{"type":"MODIFIED","object":{"metadata":{"resourceVersion":"8"}}}` + "\n" +
		`{"type":"ADDED","object":{"metadata":{"resourceVersion":"9"}}}` + "\n"
	for cut := range len(stream) {
		w := &watching{}
		l := &lines{w: w, mark: []byte(added), want: 2, revision: "6"}
		more := l.read([]byte(stream[:cut]))
		require.True(t, more)
		require.False(t, l.read([]byte(stream[cut:])))
		require.EqualValues(t, 2, w.seen.Load())
		require.Equal(t, "9", l.revision)
	}
	l := &lines{w: &watching{}, mark: []byte(added), want: 2}
	require.False(t, l.read([]byte(`{"type":"ERROR","object":{"code":410}}`+"\n")), "an error ends the watch")
	require.Contains(t, l.failed, "410")
}
