"""Physics that knows no case: analysis of numbers, elastic bands, simulations, random structures."""
