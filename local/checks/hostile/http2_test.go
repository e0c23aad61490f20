package hostile

import (
	"bytes"
	"net"
	"net/http"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// openStreams calls a tool with a broad answer on so many streams of one connection, whose windows are zero. What the server sends
// is read and left unanswered.
func openStreams(conn net.Conn, s *server, n int) error {
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return err
	}
	f := http2.NewFramer(conn, conn)
	if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		return err
	}
	go func() {
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
				f.WriteSettingsAck()
			}
		}
	}()
	body := modernBody("broad", "{}")
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := range n {
		block.Reset()
		h := http.Header{}
		setModern(h, "broad", s.mallory)
		for _, field := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/mcp"}, {":authority", s.addr}} {
			enc.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
		}
		for name, values := range h {
			enc.WriteField(hpack.HeaderField{Name: string(bytes.ToLower([]byte(name))), Value: values[0]})
		}
		stream := uint32(2*i + 1)
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true}); err != nil {
			return err
		}
		if err := f.WriteData(stream, true, []byte(body)); err != nil {
			return err
		}
	}
	return nil
}
