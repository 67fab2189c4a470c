package images

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// record is one image as kept on disk. The modification time of its file is when it was last used.
type record struct {
	ID      string
	Tags    []string
	Digests []string
	Chain   []string // chain ids, lowest first
	Size    int64
	Pinned  bool `json:",omitempty"`
	Config  v1.Config

	lastUsed time.Time
}

func (r *record) file(root string) string {
	return filepath.Join(root, "records", strings.TrimPrefix(r.ID, "sha256:")+".json")
}

func (r *record) save(root string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeFile(r.file(root), data)
}

func readRecord(path string) (*record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	r.lastUsed = info.ModTime()
	return r, nil
}

// writeFile replaces a file so that a reader, or a start after a crash, sees the old or the new content.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (r *record) addName(name string) {
	list := &r.Tags
	if isDigest(name) {
		list = &r.Digests
	}
	if !slices.Contains(*list, name) {
		*list = append(*list, name)
	}
}

func (r *record) dropName(name string) {
	same := func(n string) bool { return n == name }
	r.Tags = slices.DeleteFunc(r.Tags, same)
	r.Digests = slices.DeleteFunc(r.Digests, same)
}

// image in the words of the runtime interface.
func (r *record) image() runtime.Image {
	uid, username := numericUser(r.Config.User)
	volumes := make([]string, 0, len(r.Config.Volumes))
	for v := range r.Config.Volumes {
		volumes = append(volumes, v)
	}
	slices.Sort(volumes)
	return runtime.Image{
		ID:          r.ID,
		RepoTags:    slices.Clone(r.Tags),
		RepoDigests: slices.Clone(r.Digests),
		Size:        r.Size,
		Pinned:      r.Pinned,
		UID:         uid,
		Username:    username,
		Env:         slices.Clone(r.Config.Env),
		Entrypoint:  slices.Clone(r.Config.Entrypoint),
		Cmd:         slices.Clone(r.Config.Cmd),
		WorkingDir:  r.Config.WorkingDir,
		StopSignal:  r.Config.StopSignal,
		Volumes:     volumes,
		Labels:      r.Config.Labels,
		LastUsed:    r.lastUsed,
	}
}

// numericUser splits the USER of an image. "" is root; what is no number can only be looked up in the image's passwd.
func numericUser(user string) (*int64, string) {
	user, _, _ = strings.Cut(user, ":")
	if user == "" {
		return new(int64), ""
	}
	if n, err := strconv.ParseInt(user, 10, 64); err == nil {
		return &n, ""
	}
	return nil, user
}
