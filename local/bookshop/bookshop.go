// Package bookshop is a small service with an OpenAPI document, to try tools of an API with: it lists in pages, shows pictures, is slow on one
// route and fails on another, and forgets its orders when it ends.
package bookshop

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Document is the service's OpenAPI document.
//
//go:embed openapi.yaml
var Document []byte

// Catalog makes tools of it. It finds the document beside it, and the service's address in BOOKSHOP_URL.
//
//go:embed catalog.yaml
var Catalog []byte

//go:embed books.json
var books []byte

// A Book is one that the shop has.
type Book struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Author string `json:"author"`
	Year   int    `json:"year"`
	Price  int    `json:"price"` // in cents
}

// An Order is of copies of a book.
type Order struct {
	ID     string `json:"id"`
	Book   string `json:"book"`
	Copies int    `json:"copies"`
	Total  int    `json:"total"` // in cents
	Note   string `json:"note,omitempty"`
}

// A Shop is the service.
type Shop struct {
	books []Book

	mu     sync.Mutex
	orders map[string]Order
	keys   map[string]string // ids of orders by their Idempotency-Key
	count  int
}

// maxOrders is how many orders a shop keeps.
const maxOrders = 1000

// New returns the service.
func New() http.Handler {
	s := &Shop{orders: map[string]Order{}, keys: map[string]string{}}
	if err := json.Unmarshal(books, &s.books); err != nil {
		panic(err) // of a file of this package
	}
	slices.SortFunc(s.books, func(a, b Book) int { return strings.Compare(a.Title, b.Title) })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /books", s.list)
	mux.HandleFunc("GET /books/{id}", s.book)
	mux.HandleFunc("GET /books/{id}/cover", s.cover)
	mux.HandleFunc("GET /forecast", s.forecast)
	mux.HandleFunc("GET /supplier/{id}/stock", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "60")
		problem(w, http.StatusServiceUnavailable, "the supplier is out of order", "Its stock is not known today.")
	})
	mux.HandleFunc("POST /orders", s.order)
	mux.HandleFunc("DELETE /orders/{id}", s.cancel)
	mux.HandleFunc("GET /openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		w.Write(Document)
	})
	return http.MaxBytesHandler(mux, 64<<10)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// problem answers in the form of RFC 9457.
func problem(w http.ResponseWriter, status int, title, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"title": title, "status": status, "detail": detail})
}

func (s *Shop) find(id string) (Book, bool) {
	i := slices.IndexFunc(s.books, func(b Book) bool { return b.ID == id })
	if i < 0 {
		return Book{}, false
	}
	return s.books[i], true
}

// number reads a parameter of the query; fallback where it is not there.
func number(r *http.Request, name string, fallback int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s is %q, and no whole number from 0 on", name, text)
	}
	return n, nil
}

func (s *Shop) list(w http.ResponseWriter, r *http.Request) {
	limit, err := number(r, "limit", 10)
	price, err2 := number(r, "maxPrice", 1<<31-1)
	from, err3 := number(r, "cursor", 0)
	if err := cmp.Or(err, err2, err3); err != nil || limit < 1 || limit > 50 {
		problem(w, http.StatusBadRequest, "the query can't be read", fmt.Sprint(err, "; limit is from 1 to 50"))
		return
	}
	text := strings.ToLower(r.URL.Query().Get("text"))
	page := struct {
		Books []Book `json:"books"`
		Next  string `json:"next,omitempty"`
	}{Books: []Book{}}
	for i := from; i < len(s.books); i++ {
		b := s.books[i]
		if b.Price > price || !strings.Contains(strings.ToLower(b.Title+" "+b.Author), text) {
			continue
		}
		if len(page.Books) == limit {
			page.Next = strconv.Itoa(i)
			break
		}
		page.Books = append(page.Books, b)
	}
	answer(w, http.StatusOK, page)
}

func (s *Shop) book(w http.ResponseWriter, r *http.Request) {
	b, ok := s.find(r.PathValue("id"))
	if !ok {
		problem(w, http.StatusNotFound, "no such book", "List the books to find its id.")
		return
	}
	answer(w, http.StatusOK, b)
}

// cover draws a book of the year's colour.
func (s *Shop) cover(w http.ResponseWriter, r *http.Request) {
	b, ok := s.find(r.PathValue("id"))
	if !ok {
		problem(w, http.StatusNotFound, "no such book", "List the books to find its id.")
		return
	}
	picture := image.NewPaletted(image.Rect(0, 0, 60, 90), color.Palette{
		color.RGBA{uint8(b.Year * 7), uint8(b.Year * 13), uint8(b.Year * 29), 255}, color.White,
	})
	for y := 15; y < 40; y++ {
		for x := 10; x < 10+min(40, 2*len(b.Title)); x++ {
			if y%8 < 4 {
				picture.SetColorIndex(x, y, 1)
			}
		}
	}
	w.Header().Set("Content-Type", "image/png")
	png.Encode(w, picture)
}

// forecast is slow on purpose.
func (s *Shop) forecast(w http.ResponseWriter, r *http.Request) {
	month, err := time.Parse("2006-01", r.URL.Query().Get("month"))
	if err != nil {
		problem(w, http.StatusBadRequest, "no such month", "A month is written as 2026-12.")
		return
	}
	select {
	case <-time.After(2 * time.Second):
		answer(w, http.StatusOK, map[string]any{"month": month.Format("2006-01"), "copies": 400 + 100*int(month.Month())})
	case <-r.Context().Done():
	}
}

func (s *Shop) order(w http.ResponseWriter, r *http.Request) {
	var o Order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		problem(w, http.StatusBadRequest, "the order can't be read", err.Error())
		return
	}
	b, ok := s.find(o.Book)
	if !ok || o.Copies < 1 || o.Copies > 100 {
		problem(w, http.StatusNotFound, "no such book, or too many copies", "List the books to find its id; from 1 to 100 copies can be ordered.")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	if before, known := s.orders[s.keys[key]]; key != "" && known {
		answer(w, http.StatusCreated, before)
		return
	}
	if len(s.orders) == maxOrders {
		problem(w, http.StatusConflict, "the shop is full of orders", "Cancel some.")
		return
	}
	s.count++
	o.ID, o.Total = fmt.Sprintf("order-%d", s.count), o.Copies*b.Price
	if s.orders[o.ID] = o; key != "" {
		s.keys[key] = o.ID
	}
	answer(w, http.StatusCreated, o)
}

func (s *Shop) cancel(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.orders[r.PathValue("id")]; !ok {
		problem(w, http.StatusNotFound, "no such order", "An order is named as it was answered, such as order-1.")
		return
	}
	delete(s.orders, r.PathValue("id"))
	w.WriteHeader(http.StatusNoContent)
}
