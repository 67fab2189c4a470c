package images

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// registry answers pulls (the reading half of the distribution protocol) from a layout. It stands for every registry
// at once: names are looked up without their host, and what it has not is refused at once, as the tests of images that
// do not exist expect.
type registry struct {
	dir    string
	digest map[string]string // of an image, by repository:tag
	media  map[string]string // type of a manifest, by digest
}

// Registry serves the images of a layout.
func Registry(dir string) (http.Handler, error) {
	body, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return nil, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(body, &index); err != nil {
		return nil, err
	}
	r := &registry{dir: dir, digest: map[string]string{}, media: map[string]string{}}
	for _, m := range index.Manifests {
		_, name, _ := strings.Cut(m.Annotations[nameAnnotation], "/")
		r.digest[name] = m.Digest.String()
		r.media[m.Digest.String()] = string(m.MediaType)
	}
	return r, nil
}

var (
	manifestPath = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)
	blobPath     = regexp.MustCompile(`^/v2/.+/blobs/([^/]+)$`)
	sha256Digest = regexp.MustCompile(`^sha256:([0-9a-f]{64})$`)
)

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	switch {
	case q.Method != http.MethodGet && q.Method != http.MethodHead:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case q.URL.Path == "/v2/":
		w.WriteHeader(http.StatusOK)
	case manifestPath.MatchString(q.URL.Path):
		m := manifestPath.FindStringSubmatch(q.URL.Path)
		digest := m[2]
		if !strings.Contains(digest, ":") {
			digest = r.digest[m[1]+":"+digest]
		}
		r.send(w, q, digest, r.media[digest], "MANIFEST_UNKNOWN")
	case blobPath.MatchString(q.URL.Path):
		r.send(w, q, blobPath.FindStringSubmatch(q.URL.Path)[1], "application/octet-stream", "BLOB_UNKNOWN")
	default:
		http.NotFound(w, q)
	}
}

// send answers with a blob of the layout, or says with the protocol's code that there is none.
func (r *registry) send(w http.ResponseWriter, q *http.Request, digest, media, code string) {
	m := sha256Digest.FindStringSubmatch(digest)
	if m != nil && media != "" {
		if f, err := os.Open(filepath.Join(r.dir, "blobs", "sha256", m[1])); err == nil {
			defer f.Close()
			if st, err := f.Stat(); err == nil {
				w.Header().Set("Content-Type", media)
				w.Header().Set("Docker-Content-Digest", digest)
				http.ServeContent(w, q, "", st.ModTime(), f)
				return
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, `{"errors":[{"code":"`+code+`","message":"not among the images of the conformance suite"}]}`) // the client is gone
}
