"""The statistics of compare and regress: numbers in, decisions out. Nothing here knows of runs, files or cards.

ranks       exact null distributions of the two rank tests, their p-values, shifts with the intervals that belong to them
medians     the median with its exact interval from order statistics
family      Holm over a family of hypotheses; upper bounds of a measured rate
profiles    how alike two timing profiles are
changes     change points in nightly values
simulate    nights and cards as they might be, to measure what the above finds and how often it cries wolf
"""
