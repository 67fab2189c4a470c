package oci

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// diskUsage adds up what a folder occupies. A hard link counts once.
func diskUsage(dir string) (bytes, inodes uint64) {
	type file struct{ dev, ino uint64 }
	seen := map[file]bool{}
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // what vanished meanwhile
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		key := file{uint64(st.Dev), st.Ino}
		if st.Nlink > 1 && !e.IsDir() && seen[key] {
			return nil
		}
		seen[key] = true
		inodes++
		bytes += uint64(st.Blocks) * 512
		return nil
	})
	return bytes, inodes
}

// logUsage is the size of a log with its rotated files.
func logUsage(path string) uint64 {
	if path == "" {
		return 0
	}
	files, _ := filepath.Glob(path + "*")
	var sum uint64
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			sum += uint64(info.Size())
		}
	}
	return sum
}
