package runtime

import (
	"context"
	"io"
	"time"
)

// Images is the store of images on a node. References may be written as users do (nginx:1.7.9); they are normalized
// as Docker and CRI do (docker.io/library/nginx:1.7.9).
type Images interface {
	// Pull gets an image from its registry and unpacks it. Pulls of the same reference share one transfer; it is ended
	// when the last caller's ctx is. The registries are tried with each of auths in turn, then without.
	Pull(ctx context.Context, ref string, auths []RegistryAuth, progress func(Progress)) (Image, error)
	// Status looks an image up by reference, digest reference or id. ErrNotFound when it is not here.
	Status(ctx context.Context, ref string) (Image, error)
	List(ctx context.Context) ([]Image, error)
	// Remove forgets a reference, or with an id the image; the layers go when no other image and no container uses them.
	// What is not there is no error.
	Remove(ctx context.Context, ref string) error
	// Import reads an archive (docker save, or OCI layout as tar; both may be gzipped) and returns what was in it.
	Import(ctx context.Context, archive io.Reader, progress func(Progress)) ([]Image, error)
	// Usage of the file system that holds the images.
	Usage(ctx context.Context) (ImageUsage, error)
}

// RegistryAuth is a credential for one registry. Host is matched by the caller; it is informational here.
type RegistryAuth struct {
	Username      string
	Password      string
	Auth          string // base64 of user:password, as in docker's config
	IdentityToken string
	RegistryToken string
	ServerAddress string
}

// Progress of a pull or an import.
type Progress struct {
	Ref   string // the reference as asked, or the archive member
	Layer string // diff id or digest; empty for lines about the image
	// Done and Total bytes; Total 0 when unknown.
	Done, Total int64
	Message     string // Downloading, Unpacked, Already exists, Loaded image ...
}

// Image on the node.
type Image struct {
	ID string // sha256:... of the configuration
	// RepoTags as docker.io/library/nginx:1.7.9; RepoDigests as docker.io/library/nginx@sha256:...
	RepoTags    []string
	RepoDigests []string
	Size        int64 // unpacked bytes
	Pinned      bool

	// UID is set when the image's user is a number (or empty: 0); Username when it is a name.
	UID        *int64
	Username   string
	Env        []string
	Entrypoint []string
	Cmd        []string
	WorkingDir string
	StopSignal string
	Volumes    []string
	Labels     map[string]string

	LastUsed time.Time
}

// StatusID is what pod status shows as imageID: a digest reference where there is one, else the id.
func (i Image) StatusID() string {
	if len(i.RepoDigests) > 0 {
		return i.RepoDigests[0]
	}
	return i.ID
}

// ImageUsage of the image file system.
type ImageUsage struct {
	Path               string
	UsedBytes          uint64 // by images
	CapacityBytes      uint64 // of the file system
	AvailableBytes     uint64
	Inodes, InodesFree uint64
}
