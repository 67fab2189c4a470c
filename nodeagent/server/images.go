package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// image as GET /images shows it.
type image struct {
	ID    string   `json:"id"`
	Names []string `json:"names"`
	Size  int64    `json:"size"`
}

func (s *Server) listImages(w http.ResponseWriter, r *http.Request) {
	list, err := s.config.Images.List(r.Context())
	if err != nil {
		refuse(w, err)
		return
	}
	out := make([]image, 0, len(list))
	for _, i := range list {
		out = append(out, image{i.ID, append(slices.Clone(i.RepoTags), i.RepoDigests...), i.Size})
	}
	writeJSON(w, out)
}

// loadImages reads an archive from the request's body and answers with lines of progress while it does. A failure after
// the first line is told by a line and by cutting the answer off.
func (s *Server) loadImages(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	control.EnableFullDuplex() // HTTP/1 would else end the request's body with the first line of the answer
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	lines := &progressLines{w: flushing(w)}
	list, err := s.config.Images.Import(r.Context(), r.Body, lines.show)
	if err != nil {
		s.log.Warn("images could not be loaded", "error", err)
		if !lines.begun {
			refuse(w, &refusal{http.StatusBadRequest, err.Error()})
			return
		}
		fmt.Fprintf(lines.w, "error: %v\n", err)
		panic(http.ErrAbortHandler)
	}
	io.Copy(io.Discard, r.Body)
	s.log.Info("images loaded", "count", len(list))
}

// progressLines writes what happens to an image, but of bytes on their way only now and then.
type progressLines struct {
	w     io.Writer
	begun bool
	last  time.Time
}

func (p *progressLines) show(line runtime.Progress) {
	moving := line.Total > 0 && line.Done < line.Total && line.Done > 0
	if moving && time.Since(p.last) < 500*time.Millisecond {
		return
	}
	p.last, p.begun = time.Now(), true
	switch {
	case line.Layer == "":
		fmt.Fprintf(p.w, "%s: %s\n", line.Ref, line.Message)
	case moving:
		fmt.Fprintf(p.w, "%s: %.19s: %s %d%%\n", line.Ref, line.Layer, line.Message, 100*line.Done/line.Total)
	default:
		fmt.Fprintf(p.w, "%s: %.19s: %s\n", line.Ref, line.Layer, line.Message)
	}
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value)
}
