"""What ships: exports of one plan, and the runtime that generates from them."""
