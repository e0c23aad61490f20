package run

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

// A Service is an API that runs beside the server, with a catalog that makes tools of it.
type Service struct {
	What    string // in a few words
	Tries   []Try  // where its catalog is served
	Handler http.Handler
	Setting string            // variable of the environment by which the catalog finds its URL
	Catalog string            // path of the catalog file among Files
	Files   map[string][]byte // by their paths
	Dir     string            // where they lie in the repository, to be changed there; elsewhere copies are served
}

// catalogFile is served where there is one in the working directory.
const catalogFile = "catalog.yaml"

// declare starts the sample's service and says which catalog file is served: the one that CATALOG_FILE names, or else the working directory's, or
// else the service's. On loopback, tools reach what listens on this machine.
func declare(s *Sample, loopback bool) (settings map[string]string, stop func(), err error) {
	settings, stop = map[string]string{}, func() {}
	if loopback && os.Getenv("EGRESS_ALLOW") == "" {
		settings["EGRESS_ALLOW"] = "localhost,127.0.0.0/8,::1"
	}
	own := os.Getenv("CATALOG_FILE")
	if _, err := os.Stat(catalogFile); own == "" && err == nil {
		own = catalogFile
	}
	if own != "" {
		settings["CATALOG_FILE"] = own
	}
	if s == nil || s.Service == nil || !loopback {
		return settings, stop, nil
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", servicePort()))
	if err != nil {
		return nil, nil, fmt.Errorf("%s listens two ports after PORT, and can't: %w", s.Service.What, err)
	}
	settings[s.Service.Setting] = "http://" + listener.Addr().String()
	server := &http.Server{Handler: s.Service.Handler}
	go server.Serve(listener)
	stop = func() { server.Close() }
	if own == "" {
		var remove func()
		settings["CATALOG_FILE"], remove, err = s.Service.files()
		stop = func() { server.Close(); remove() }
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return settings, stop, nil
}

// servicePort is two after PORT, or any where that is any.
func servicePort() string {
	switch port, err := strconv.Atoi(os.Getenv("PORT")); {
	case err != nil:
		return "8082"
	case port == 0:
		return "0"
	default:
		return strconv.Itoa(port + 2)
	}
}

// files returns the path of the service's catalog file, and what removes copies.
func (s *Service) files() (path string, remove func(), err error) {
	if path = filepath.Join(s.Dir, s.Catalog); s.Dir != "" {
		if _, err := os.Stat(path); err == nil {
			return path, func() {}, nil
		}
	}
	dir, err := os.MkdirTemp("", "catalog")
	if err != nil {
		return "", func() {}, err
	}
	remove = func() { os.RemoveAll(dir) }
	for name, content := range s.Files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", remove, err
		}
	}
	return filepath.Join(dir, s.Catalog), remove, nil
}
