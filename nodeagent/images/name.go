package images

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

var hexID = regexp.MustCompile(`^(sha256:)?[a-f0-9]{64}$`)

// normalize turns what users write into the name under which an image is kept: nginx into
// docker.io/library/nginx:latest, and NAME:TAG@DIGEST into NAME@DIGEST, as Docker and the CRI runtimes do.
func normalize(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("invalid image name %q: %w", ref, err)
	}
	return named.String(), nil
}

// repository of a normalized reference: without tag and digest.
func repository(ref string) string {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return ref
	}
	return named.Name()
}

// idOf says whether ref is an image id and returns it with its algorithm.
func idOf(ref string) (string, bool) {
	if !hexID.MatchString(ref) {
		return "", false
	}
	if !strings.HasPrefix(ref, "sha256:") {
		ref = "sha256:" + ref
	}
	return ref, true
}

func isDigest(ref string) bool { return strings.Contains(ref, "@") }
