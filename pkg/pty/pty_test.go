package pty_test

import (
	"bufio"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/term"

	"github.com/skiff-project/skiff/pkg/pty"
)

func TestOpen(t *testing.T) {
	near, far, err := pty.Open()
	require.NoError(t, err)
	defer near.Close()
	defer far.Close()
	require.True(t, term.IsTerminal(int(far.Fd())))
	_, err = near.WriteString("typed\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(far).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "typed\n", line)
}
