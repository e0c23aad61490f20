package fleet

import (
	"context"
	"encoding/json"
	"time"
)

const (
	// AnnounceEvery is how often an instance says how it is.
	AnnounceEvery = 2 * time.Second
	// ForgetAfter is how old what it said may become. An idle instance of a serverless platform gets no time to say anything.
	ForgetAfter = 20 * time.Minute
	// announceTimeout is for saying it once.
	announceTimeout = 250 * time.Millisecond
	// servedEvery is how often an instance says what it serves again: the board may have been emptied, or the instance forgotten while it
	// slept.
	servedEvery = 30 * time.Second
)

// An Announcer says how an instance is.
type Announcer struct {
	Board Board
	Self  func() Instance
	// Serves returns what it serves, as [Served.Note] does; nil: nothing.
	Serves func() (note []byte, name string)
}

// Run announces until the context ends, and then that the instance has gone. A board that is away is the governor's to tell of.
func (a *Announcer) Run(ctx context.Context) {
	tick := time.NewTicker(AnnounceEvery)
	defer tick.Stop()
	var served time.Time
	var serves string // the name of what was put up last
	for {
		name, catalog := a.announce()
		if a.Serves != nil && (catalog != serves || time.Since(served) >= servedEvery) {
			// After the instance: who finds no instance that serves it takes it down. What has changed since waits for the next time.
			if note, of := a.Serves(); of == catalog && a.put(Catalogs, of, note) {
				served, serves = time.Now(), of
			}
		}
		select {
		case <-ctx.Done():
			gone, done := context.WithTimeout(context.WithoutCancel(ctx), announceTimeout)
			defer done()
			a.Board.TakeDown(gone, Instances, name)
			return
		case <-tick.C:
		}
	}
}

func (a *Announcer) announce() (name, catalog string) {
	self := a.Self()
	if note, err := json.Marshal(self); err == nil { // it holds nothing that has no JSON
		a.put(Instances, self.Name, note)
	}
	return self.Name, self.Catalog
}

func (a *Announcer) put(list List, name string, note []byte) (done bool) {
	ctx, cancel := context.WithTimeout(context.Background(), announceTimeout)
	defer cancel()
	return a.Board.PutUp(ctx, list, name, note) == nil
}
