package routes

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/watchcache"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// watch answers with events until its time is over, its client goes or the kind does.
func (c *call) watch(s *selection) {
	life := c.watchTime()
	if s.TimeoutSeconds != nil && *s.TimeoutSeconds > 0 {
		life = time.Duration(*s.TimeoutSeconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), life)
	defer cancel()
	accepted, err := wire.NegotiateStream(c.r, c.offer())
	if err != nil {
		c.fail(err)
		return
	}
	frames, err := c.res.Codec.NewFrames(c.r, accepted, c.gv())
	if err != nil {
		c.fail(err)
		return
	}
	watcher, err := c.res.Watch(ctx, c.write(), watchcache.WatchOptions{
		Namespace: s.namespace, Name: s.name, Labels: s.LabelSelector, Fields: s.FieldSelector,
		ResourceVersion: s.ResourceVersion, Match: s.ResourceVersionMatch,
		SendInitialEvents: s.SendInitialEvents, Bookmarks: s.AllowWatchBookmarks,
	})
	if err != nil {
		c.fail(err)
		return
	}
	defer watcher.Close()
	if websocket.IsWebSocketUpgrade(c.r) {
		c.watchWebSocket(ctx, cancel, watcher, frames, accepted)
		return
	}
	c.watchStream(ctx, watcher, frames, accepted)
}

// flushAt is how many bytes of events are gathered before they are sent, if there are that many at once: an event alone
// is sent at once. Of more than that, hundreds of watchers that lag behind would hold a lot.
const flushAt = 32 * 1024

// eventBuffers are for them, which a watcher has only while it sends.
var eventBuffers = sync.Pool{New: func() any { b := make([]byte, 0, flushAt+flushAt/4); return &b }}

func (c *call) watchStream(ctx context.Context, watcher watchcache.Watcher, frames *wire.Frames, accepted wire.Accepted) {
	out := http.NewResponseController(c.w)
	c.w.Header().Set("Content-Type", accepted.Format.StreamType())
	c.w.WriteHeader(http.StatusOK)
	if err := out.Flush(); err != nil {
		return
	}
	for {
		events, err := watcher.Next(ctx)
		if err != nil || !c.sendEvents(events, frames) || out.Flush() != nil {
			return
		}
	}
}

// sendEvents writes events without flushing; false says that the watch is over.
func (c *call) sendEvents(events []watchcache.Event, frames *wire.Frames) bool {
	buffer := eventBuffers.Get().(*[]byte)
	buf, pending := (*buffer)[:0], 0
	for i, e := range events {
		var err error
		if buf, err = frames.Append(buf, e); err != nil {
			c.Log.Error("watch ends: an event cannot be encoded", "resource", c.res.Kind.GroupResource(), "err", err)
			return false
		}
		if pending++; len(buf) < flushAt && i < len(events)-1 {
			continue
		}
		if _, err := c.w.Write(buf); err != nil {
			// The connection may still be at it: the buffer is nobody's any more, least of all another client's.
			return false
		}
		c.observe(pending, len(buf))
		buf, pending = buf[:0], 0
	}
	if *buffer = buf; cap(buf) <= 4*flushAt {
		eventBuffers.Put(buffer)
	}
	return true
}

func (c *call) observe(events, bytes int) {
	if c.Observe != nil {
		c.Observe(schema.GroupVersionResource{Group: c.version.GVK.Group, Version: c.version.GVK.Version, Resource: c.res.Kind.Resource}, events, bytes)
	}
}

// upgrader takes WebSocket watches from anywhere: who asks was authenticated by more than a cookie.
var upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, ReadBufferSize: 1024, WriteBufferSize: 32 * 1024}

// watchWebSocket sends every event as a message of its own.
func (c *call) watchWebSocket(ctx context.Context, cancel context.CancelFunc, watcher watchcache.Watcher, frames *wire.Frames, accepted wire.Accepted) {
	conn, err := upgrader.Upgrade(c.w, c.r, nil)
	if err != nil {
		// The upgrader has answered.
		return
	}
	defer conn.Close()
	go func() {
		// What the client says is of no interest, only that it goes.
		defer cancel()
		for {
			if _, r, err := conn.NextReader(); err != nil {
				return
			} else if _, err := io.Copy(io.Discard, r); err != nil {
				return
			}
		}
	}()
	kind := websocket.TextMessage
	if accepted.Format == wire.Protobuf {
		kind = websocket.BinaryMessage
	}
	var buf []byte
	for {
		events, err := watcher.Next(ctx)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				deadline := time.Now().Add(time.Second)
				_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), deadline)
			}
			return
		}
		for _, e := range events {
			if buf, err = frames.Append(buf[:0], e); err != nil {
				return
			}
			if err := conn.WriteMessage(kind, buf); err != nil {
				return
			}
		}
	}
}
