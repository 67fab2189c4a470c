package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// layer is one unpacked layer.
type layer struct {
	Chain  string
	Size   int64
	Inodes int64
	// Boot is the kernel's boot id until the layer is known to be on disk, then empty.
	Boot string `json:",omitempty"`

	number int
}

// layers is the folder of unpacked layers.
type layers struct {
	root string
	boot string
	log  *slog.Logger

	mu      sync.Mutex // guards what follows
	byChain map[string]*layer
	next    int
	busy    map[string]*sync.Mutex // chains being unpacked
	syncing bool

	background sync.WaitGroup
}

func openLayers(root string, log *slog.Logger) (*layers, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	l := &layers{root: root, boot: strings.TrimSpace(string(boot)), log: log, byChain: map[string]*layer{}, busy: map[string]*sync.Mutex{}}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	unsynced := false
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		n, err := strconv.ParseInt(e.Name(), 36, 32)
		if err != nil {
			os.RemoveAll(path) // unpacking was interrupted
			continue
		}
		l.next = max(l.next, int(n)+1)
		one, err := readLayer(path)
		if err != nil || (one.Boot != "" && one.Boot != l.boot) {
			log.Warn("layer may be incomplete and is thrown away", "path", path, "error", err)
			os.RemoveAll(path)
			continue
		}
		one.number = int(n)
		unsynced = unsynced || one.Boot != ""
		l.byChain[one.Chain] = one
	}
	// An empty folder: the lowest layer of images that have none, and the second one where overlayfs wants two.
	if err := os.MkdirAll(l.empty(), 0o755); err != nil {
		return nil, err
	}
	if unsynced {
		l.syncLater()
	}
	return l, nil
}

func readLayer(path string) (*layer, error) {
	data, err := os.ReadFile(filepath.Join(path, "layer.json"))
	if err != nil {
		return nil, err
	}
	one := &layer{}
	return one, json.Unmarshal(data, one)
}

func (l *layers) dir(one *layer) string {
	return filepath.Join(l.root, strconv.FormatInt(int64(one.number), 36))
}
func (l *layers) fs(one *layer) string { return filepath.Join(l.dir(one), "fs") }
func (l *layers) empty() string        { return filepath.Join(filepath.Dir(l.root), "empty") }

func (l *layers) get(chain string) *layer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byChain[chain]
}

func (l *layers) haveAll(chain []string) bool {
	return !slices.ContainsFunc(chain, func(c string) bool { return l.get(c) == nil })
}

// folders of a chain, topmost first, as overlayfs wants them.
func (l *layers) folders(chain []string) ([]string, error) {
	var dirs []string
	for _, c := range slices.Backward(chain) {
		one := l.get(c)
		if one == nil {
			return nil, fmt.Errorf("layer %s is gone", c)
		}
		dirs = append(dirs, l.fs(one))
	}
	return dirs, nil
}

// lock makes one caller at a time work on a chain.
func (l *layers) lock(chain string) (unlock func()) {
	l.mu.Lock()
	m := l.busy[chain]
	if m == nil {
		m = &sync.Mutex{}
		l.busy[chain] = m
	}
	l.mu.Unlock()
	m.Lock()
	return m.Unlock
}

// unpack adds a layer from its (perhaps compressed) archive. diffID is checked over the uncompressed bytes. below is the
// chain beneath it.
func (l *layers) unpack(ctx context.Context, chain, diffID string, below []string, archive io.Reader) (*layer, error) {
	l.mu.Lock()
	one := &layer{Chain: chain, Boot: l.boot, number: l.next}
	l.next++
	l.mu.Unlock()

	parents, err := l.folders(below)
	if err != nil {
		return nil, err
	}
	temp := l.dir(one) + ".new"
	defer os.RemoveAll(temp)
	if err := os.MkdirAll(filepath.Join(temp, "fs"), 0o755); err != nil {
		return nil, err
	}
	plain, err := decompress(archive)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	hash := sha256.New()
	tee := io.TeeReader(contextReader{ctx, plain}, hash)
	if one.Size, one.Inodes, err = unpackTar(tee, filepath.Join(temp, "fs"), parents); err != nil {
		return nil, fmt.Errorf("unpack layer %s: %w", diffID, err)
	}
	// What follows the end marker of the archive belongs to its hash, too.
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return nil, fmt.Errorf("unpack layer %s: %w", diffID, err)
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != diffID {
		return nil, fmt.Errorf("layer %s has the content of %s", diffID, got)
	}
	data, err := json.Marshal(one)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(temp, "layer.json"), data, 0o600); err != nil {
		return nil, err
	}
	if err := os.Rename(temp, l.dir(one)); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.byChain[chain] = one
	l.mu.Unlock()
	l.syncLater()
	return one, nil
}

// syncLater flushes the layers to disk in the background and then takes the boot id off them.
func (l *layers) syncLater() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.syncing {
		return
	}
	l.syncing = true
	l.background.Go(func() {
		for l.syncOnce() {
		}
	})
}

// syncOnce says whether there may be more to do.
func (l *layers) syncOnce() bool {
	l.mu.Lock()
	var todo []*layer
	for _, one := range l.byChain {
		if one.Boot != "" {
			todo = append(todo, one)
		}
	}
	if len(todo) == 0 {
		l.syncing = false
	}
	l.mu.Unlock()
	if len(todo) == 0 {
		return false
	}
	if err := syncFS(l.root); err != nil {
		l.log.Warn("layers could not be flushed to disk", "error", err)
		l.mu.Lock()
		l.syncing = false
		l.mu.Unlock()
		return false
	}
	for _, one := range todo {
		l.mu.Lock()
		one.Boot = ""
		data, err := json.Marshal(one)
		gone := l.byChain[one.Chain] != one
		l.mu.Unlock()
		if err != nil || gone {
			continue
		}
		if err := writeFile(filepath.Join(l.dir(one), "layer.json"), data); err != nil && !os.IsNotExist(err) {
			l.log.Warn("layer could not be marked as being on disk", "layer", l.dir(one), "error", err)
		}
	}
	return true
}

func syncFS(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// takeExcept takes the layers out of the list that are not used by an image or below a mount.
func (l *layers) takeExcept(used map[string]bool) ([]*layer, error) {
	mounted, err := mountedLowers(l.root)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var gone []*layer
	for chain, one := range l.byChain {
		if !used[chain] && !mounted[l.fs(one)] {
			gone = append(gone, one)
			delete(l.byChain, chain)
		}
	}
	return gone, nil
}

// erase removes the folders of layers that were taken.
func (l *layers) erase(gone []*layer) error {
	for _, one := range gone {
		// The rename makes it vanish at once, also for the next start.
		temp := l.dir(one) + ".gone"
		if err := os.Rename(l.dir(one), temp); err != nil {
			return err
		}
		if err := os.RemoveAll(temp); err != nil {
			return err
		}
	}
	return nil
}

// mountedLowers are the layer folders that some overlay of this mount namespace stands on.
func mountedLowers(root string) (map[string]bool, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("overlay"))
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, m := range mounts {
		for _, option := range strings.Split(m.VFSOptions, ",") {
			for _, key := range []string{"lowerdir=", "lowerdir+="} {
				if dirs, ok := strings.CutPrefix(option, key); ok {
					for _, dir := range strings.Split(dirs, ":") {
						if strings.HasPrefix(dir, root) {
							used[dir] = true
						}
					}
				}
			}
		}
	}
	return used, nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
