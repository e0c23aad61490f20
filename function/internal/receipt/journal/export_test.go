package journal

import "example.com/erlmcp/function/internal/receipt"

// Full tells whether the next receipt would be lost.
func (j *Journal) Full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.closing || !j.fits(sizeOf(&receipt.Receipt{}))
}
