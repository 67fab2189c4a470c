package watchcache

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A continue token is upstream's, so that a client may take it from one kind of server to the other: the revision of the
// list and the key, without the list's prefix, at which it goes on. Revision -1 means: at whatever is newest.
type token struct {
	Version  string `json:"v"`
	Revision int64  `json:"rv"`
	Start    string `json:"start"`
}

const (
	tokenVersion = "meta.k8s.io/v1"
	anyRevision  = -1
)

var errBadToken = errors.New("continue key is not valid")

func decodeToken(text, prefix string) (from string, revision int64, err error) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return "", 0, fmt.Errorf("%w: %v", errBadToken, err)
	}
	var t token
	if err := json.Unmarshal(data, &t); err != nil {
		return "", 0, fmt.Errorf("%w: %v", errBadToken, err)
	}
	switch {
	case t.Version != tokenVersion:
		return "", 0, fmt.Errorf("%w: server does not recognize this encoded version %v", errBadToken, t.Version)
	case t.Revision == 0:
		return "", 0, fmt.Errorf("%w: incorrect encoded start resourceVersion (version meta.k8s.io/v1)", errBadToken)
	case t.Start == "":
		return "", 0, fmt.Errorf("%w: encoded start key empty (version meta.k8s.io/v1)", errBadToken)
	}
	// A client may write what it likes in a token. It must not lead out of what the client was allowed to list.
	start := "/" + strings.TrimPrefix(t.Start, "/")
	if path.Clean(start) != start {
		return "", 0, fmt.Errorf("%w: %v", errBadToken, t.Start)
	}
	return prefix + start[1:], t.Revision, nil
}

// encodeToken makes the token of a list that goes on at a key below prefix.
func encodeToken(from, prefix string, revision int64) string {
	data, err := json.Marshal(token{tokenVersion, revision, strings.TrimPrefix(from, prefix)})
	if err != nil {
		panic(err) // strings and a number
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// expired is the answer for a list of a revision that is gone. One that was under way can be taken up where it stopped.
func expired(q *query) error {
	if q.from == "" {
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	}
	err := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response to retrieve the " +
		"remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were " +
		"created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
	err.ErrStatus.Continue = encodeToken(q.from, q.prefix, anyRevision)
	return err
}
