package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func own(name string) *clientcmdapi.Config {
	c := clientcmdapi.NewConfig()
	c.Clusters[name] = &clientcmdapi.Cluster{Server: "https://127.0.0.1:1"}
	c.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: "t"}
	c.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	c.CurrentContext = name
	return c
}

func TestAddContext(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "config")
	previous, err := addContext(file, own("skiff-a"))
	require.NoError(t, err)
	require.Empty(t, previous)
	st, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	previous, err = addContext(file, own("skiff-b"))
	require.NoError(t, err)
	require.Equal(t, "skiff-a", previous)
	previous, err = addContext(file, own("skiff-b"))
	require.NoError(t, err)
	require.Empty(t, previous, "its own name is not what to go back to")
	got, err := clientcmd.LoadFromFile(file)
	require.NoError(t, err)
	require.Len(t, got.Contexts, 2)
}

func TestAddContextFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(real, nil, 0o600))
	require.NoError(t, os.Symlink(real, link))
	_, err := addContext(link, own("skiff-a"))
	require.NoError(t, err)
	st, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, st.Mode()&os.ModeSymlink)
	require.NoFileExists(t, real+".lock")
}

func TestBrokenKubeconfigIsLeftAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte("not: [yaml"), 0o644))
	_, err := addContext(file, own("skiff-a"))
	require.Error(t, err)
	body, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "not: [yaml", string(body))
}

func TestChangesDoNotLoseEachOther(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := addContext(file, own(fmt.Sprintf("skiff-%d", i)))
			require.NoError(t, err)
		})
	}
	wg.Wait()
	got, err := clientcmd.LoadFromFile(file)
	require.NoError(t, err)
	require.Len(t, got.Contexts, 8)
}

func TestEmptyKubeconfigGoes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	_, err := addContext(file, own("skiff-a"))
	require.NoError(t, err)
	require.NoError(t, change(file, func(c *clientcmdapi.Config) { *c = *clientcmdapi.NewConfig() }))
	require.NoFileExists(t, file)
}

func TestCheckExtra(t *testing.T) {
	u := &up{extra: []string{"apiserver=--v=2", "scheduler=--profiling=false", "apiserver=--x"}}
	require.NoError(t, u.checkExtra())
	require.Equal(t, []string{"--v=2", "--x"}, u.extraFor("apiserver"))
	for _, bad := range []string{"nobody=--v=2", "apiserver", "apiserver=v"} {
		require.Error(t, (&up{extra: []string{bad}}).checkExtra(), bad)
	}
}

func TestListenAPI(t *testing.T) {
	l, err := listenAPI(0)
	require.NoError(t, err)
	defer l.Close()
	var port int
	_, err = fmt.Sscanf(l.Addr().String(), "127.0.0.1:%d", &port)
	require.NoError(t, err)
	_, err = listenAPI(port)
	require.ErrorContains(t, err, "is in use")
}
