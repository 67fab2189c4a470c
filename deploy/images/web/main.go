// Command web stands in for nginx in the demo and in tests: it listens on port 80, serves /usr/share/nginx/html where
// that has files, else a line that names the version and the pod, and ends as nginx does: on SIGQUIT and SIGTERM after
// the requests at hand.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const root = "/usr/share/nginx/html"

func main() {
	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Addr:              ":80",
		Handler:           handler(os.Getenv("NGINX_VERSION"), host),
		ReadHeaderTimeout: 10 * time.Second,
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	defer stop()
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		done <- server.Shutdown(context.Background())
	}()
	log.Printf("nginx stand-in %s on port 80", os.Getenv("NGINX_VERSION"))
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	if err := <-done; err != nil {
		log.Fatal(err)
	}
}

func handler(version, host string) http.Handler {
	files := http.FileServer(http.Dir(root))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "nginx/"+version)
		log.Printf("%s %q %s", r.RemoteAddr, r.Method+" "+r.URL.Path, r.UserAgent())
		name := filepath.Join(root, filepath.Clean("/"+r.URL.Path))
		if strings.HasSuffix(r.URL.Path, "/") {
			name = filepath.Join(name, "index.html")
		}
		if _, err := os.Stat(name); err == nil || r.URL.Path != "/" {
			files.ServeHTTP(w, r)
			return
		}
		fmt.Fprintf(w, "Welcome to nginx %s on %s\n", version, host)
	})
}
