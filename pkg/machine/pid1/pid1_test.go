package pid1

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNextPause(t *testing.T) {
	for _, tt := range []struct {
		name            string
		last, ran, want time.Duration
	}{
		{"first end", 0, time.Second, firstPause},
		{"again and again", firstPause, time.Second, 2 * firstPause},
		{"no longer than the longest", maxPause, time.Second, maxPause},
		{"after a long run it starts over", maxPause, settled, firstPause},
	} {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, nextPause(tt.last, tt.ran)) })
	}
}

func TestCutLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	log, err := openLog(path)
	require.NoError(t, err)
	defer log.Close()
	_, err = log.WriteString(strings.Repeat("x", 100))
	require.NoError(t, err)
	require.NoError(t, cutLog(path, 100))
	require.NoFileExists(t, path+".1", "not too long yet")
	_, err = log.WriteString("y")
	require.NoError(t, err)
	require.NoError(t, cutLog(path, 100))
	_, err = log.WriteString("new")
	require.NoError(t, err)
	body, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(body), "the writer goes on at the file's beginning")
	old, err := os.ReadFile(path + ".1")
	require.NoError(t, err)
	require.Len(t, old, 101)
}

func TestHierarchy(t *testing.T) {
	for super, want := range map[string]string{
		"rw,cpu,cpuacct":                 "cpu,cpuacct",
		"rw,xattr,name=systemd":          "none,name=systemd",
		"rw,cpuset,clone_children":       "cpuset",
		"rw,xattr,release_agent=/x,pids": "pids",
	} {
		require.Equal(t, want, hierarchy(mountPoint{fstype: "cgroup", super: super}))
	}
}

func TestCarried(t *testing.T) {
	var points []string
	for _, m := range carried([]mountPoint{
		{point: "/", fstype: "ext4"}, {point: "/proc", fstype: "proc"}, {point: "/home/deep", fstype: "ext4"},
		{point: "/home", fstype: "ext4"}, {point: "/home", fstype: "ext4"}, {point: "/run/netns/x", fstype: "nsfs"},
		{point: "/var/lib/docker/overlay2/x/merged", fstype: "overlay"}, {point: "/boot", fstype: "vfat"}, {point: "/tmp", fstype: "tmpfs"},
	}) {
		points = append(points, m.point)
	}
	require.Equal(t, []string{"/home", "/boot", "/home/deep"}, points)
}
