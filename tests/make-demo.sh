#!/usr/bin/env bash
# Makes src/app/demo.flv, and demo.flv.gz, which the program carries for its built-in demonstration: a test card whose
# ball and bar go round once in eight seconds, with a soft chord that swells once a second, so that it loops
# without a visible seam. H.264 (main, no B frames) and AAC in FLV, 640x360, 25 frames/s, a keyframe every 2 s.
#
# 8 s at 32 kHz is exactly 250 AAC frames, so audio and video end together; the chord has nothing above 400 Hz. Every
# byte here is one of the program, so quality is what the card needs and no more.
# Needs ffmpeg with libx264 and the DejaVu fonts (packages ffmpeg and fonts-dejavu-core).
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-src/app/demo.flv}
seconds=8
limit=40000

w=640 h=360 fps=25
font=/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf
mono=/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf

# The card: a quiet background, eight colour bars, the name, a running clock; over it the ball and the bar.
card="color=c=0x10243e:s=${w}x${h}:r=${fps}:d=${seconds}"
i=0
for c in 0xc0c0c0 0xc0c000 0x00c0c0 0x00c000 0xc000c0 0xc00000 0x0000c0 0x303030; do
  card+=",drawbox=x=$((i * 80)):y=270:w=80:h=60:color=${c}:t=fill"
  i=$((i + 1))
done
card+=",drawtext=fontfile=${font}:text=runnel:fontsize=72:fontcolor=0xf4f7fb:x=(w-tw)/2:y=70"
card+=",drawtext=fontfile=${mono}:text='%{pts\\:hms}':fontsize=32:fontcolor=0x8fd3ff:x=(w-tw)/2:y=170"
ball="color=c=0xff8a3d:s=48x48:r=${fps}:d=${seconds},format=rgba"
ball+=",geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*clip(24-hypot(X-23.5,Y-23.5),0,1)'"
bar="color=c=0x8fd3ff:s=${w}x8:r=${fps}:d=${seconds}"
# The turn is (T * 2 pi / seconds); the ball stays clear of the name by running on a wide, flat ellipse.
turn="2*PI*t/${seconds}"

# 220, 277 and 330 Hz, each a whole number of cycles in the loop; the swell has a whole number too.
tone="0.10*(0.6-0.4*cos(2*PI*t))*(sin(2*PI*220*t)+0.7*sin(2*PI*277*t)+0.5*sin(2*PI*330*t))"

ffmpeg -hide_banner -loglevel error -y \
  -f lavfi -i "$card" -f lavfi -i "$ball" -f lavfi -i "$bar" \
  -f lavfi -i "aevalsrc=exprs='${tone}':s=32000:d=${seconds}" \
  -filter_complex "[0:v][1:v]overlay=x='(W-w)/2+270*cos(${turn})':y='120+100*sin(${turn})':shortest=1[b];
                   [b][2:v]overlay=x='-W+W*t/${seconds}':y=H-8:shortest=1,format=yuv420p[v]" \
  -map '[v]' -map 3:a \
  -c:v libx264 -profile:v main -bf 0 -preset veryslow -crf 34 \
  -g $((2 * fps)) -keyint_min $((2 * fps)) -sc_threshold 0 -threads 1 \
  -c:a aac -b:a 12k -ac 1 \
  -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
  -flvflags no_duration_filesize -t "$seconds" -f flv "$out"

# By way of the output: a file that gzip writes itself is as old as its source, and would not be built in.
gzip -9nc "$out" > "$out.gz"

size=$(stat -c %s "$out.gz")
echo "$out.gz: $size bytes"
if [ "$size" -ge "$limit" ]; then
  echo "$out.gz is $size bytes, the limit is $limit" >&2
  exit 1
fi
